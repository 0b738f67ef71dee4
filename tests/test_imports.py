"""The rules of CONTRIBUTING.md, read off the import statements: imports go one way, and one door per library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dnuc

PACKAGE = Path(dnuc.__file__).parent
STAGES = ("data", "activations", "neighbors", "measures", "landscape", "report")

# Who may import whom; a package may always import itself. "" is dnuc/__init__.py, which offers the public names.
BASIS = {"errors", "_version", "units", "taxonomy", "location", "traffic"}
HALF_WAY = {"job", "store", "cluster"} | BASIS
MAY_IMPORT = {
    "_version": set(),
    "errors": set(),
    "units": set(),
    "traffic": set(),
    "taxonomy": {"errors"},  # the type that samples, landscape and report share
    "location": {"errors"},  # a directory or an object store
    "job": BASIS,
    "store": {"job"} | BASIS,
    "cluster": {"job"} | BASIS,
    **dict.fromkeys(STAGES, HALF_WAY),
    "passes": HALF_WAY | set(STAGES),
    "pipeline": HALF_WAY | set(STAGES) | {"plan", "passes"},
    "plan": HALF_WAY | set(STAGES),
    "pace": HALF_WAY | set(STAGES),
    "forecast": HALF_WAY | set(STAGES) | {"plan", "pace"},
    "notebook": HALF_WAY | set(STAGES) | {"pipeline", "plan"},
    "cli": HALF_WAY | set(STAGES) | {"pipeline", "plan", "pace", "forecast", "notebook", "cli_cluster", "cli_status"},
    "cli_status": HALF_WAY,
    "cli_cluster": HALF_WAY | {"submit"},
    "submit": HALF_WAY | {"plan"},
    "__main__": {"cli"},
    "estimators": {"neighbors", "measures", "landscape"} | BASIS,
    "drawing": {"landscape", "report"} | BASIS,
    "": {"_version", "notebook", "taxonomy", "estimators", "drawing"} | set(STAGES),
}
# The Neighbors type, and the public searches for what needs neighbors of its own (subsets, ranks in another layer).
EXCEPTION = (("dnuc.neighbors.lists", "dnuc.neighbors.search", "dnuc.neighbors.within"), {"measures", "landscape"})
DOORS = {
    "obstore": ("location/",),
    "zarr": ("store/",),
    "distributed": ("cluster/", "neighbors/graph.py", "neighbors/search.py", "neighbors/within.py"),
    "matplotlib": ("report/",),
    "torch": ("activations/", "neighbors/"),
}


def imported(source):
    """Full names of everything a module imports, at its top or inside a function: (line, name)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide where a name is from"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def part_of(module):
    """The part of dnuc a dotted name belongs to: "dnuc.store.run.RunStore" -> "store"; a public name -> ""."""
    part = [*module.split("."), ""][1]
    return part if part in MAY_IMPORT else ""


def violations(root):
    """Every import below `root` (a copy of dnuc/) that breaks a rule, as "file:line: why"."""
    found = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        part = "" if name == "__init__.py" else name.split("/")[0].removesuffix(".py")
        for line, module in imported(path.read_text(encoding="utf-8")):
            library = module.split(".")[0]
            if library in DOORS and not name.startswith(DOORS[library]):
                found.append(f"{name}:{line}: {library} only in {', '.join(DOORS[library])}")
            if library != "dnuc" or part_of(module) in (part, *MAY_IMPORT[part]):
                continue
            if not (module.startswith(EXCEPTION[0]) and part in EXCEPTION[1]):
                found.append(f"{name}:{line}: {part or 'dnuc'} must not import {module}")
    return found


def test_every_part_of_dnuc_has_its_place():
    parts = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert parts - {"__init__"} == set(MAY_IMPORT) - {""}


def test_imports_go_one_way_and_through_one_door():
    assert violations(PACKAGE) == []


PLANTED = [
    ("measures/hubs.py", "from dnuc.landscape import density_peaks", "measures must not import dnuc.landscape"),
    ("measures/hubs.py", "from dnuc.neighbors.tile import tile", "measures must not import dnuc.neighbors.tile.tile"),
    ("report/page.py", "from dnuc.neighbors.lists import Neighbors", "report must not import dnuc.neighbors.lists"),
    ("store/run.py", "def f():\n    import dnuc.cluster.window", "store must not import dnuc.cluster.window"),
    ("job.py", "from dnuc import store", "job must not import dnuc.store"),
    ("data/stage.py", "from dnuc.pipeline import run_job", "data must not import dnuc.pipeline.run_job"),
    ("data/stage.py", "from dnuc import run", "data must not import dnuc.run"),
    ("pipeline.py", "import dnuc.cli", "pipeline must not import dnuc.cli"),
    ("neighbors/stage.py", "import zarr", "zarr only in store/"),
    (
        "neighbors/tile.py",
        "import distributed.client",
        "distributed only in cluster/, neighbors/graph.py, neighbors/search.py, neighbors/within.py",
    ),
    ("landscape/tree.py", "from matplotlib import pyplot", "matplotlib only in report/"),
    ("report/page.py", "if True:\n    import torch", "torch only in activations/, neighbors/"),
]


@pytest.mark.parametrize(("file", "source", "why"), PLANTED, ids=[f"{f}-{s.split()[-1]}" for f, s, _ in PLANTED])
def test_a_planted_violation_is_seen(tmp_path, file, source, why):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(source, encoding="utf-8")
    [found] = violations(tmp_path)
    assert found.startswith(f"{file}:")
    assert why in found


def test_the_neighbors_type_and_the_public_searches_may_be_imported(tmp_path):
    program = "from dnuc.neighbors.lists import Neighbors\nfrom dnuc.neighbors.within import count_within\n"
    for part in ("measures", "landscape"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.py").write_text(program)
    assert violations(tmp_path) == []


HEAVY = ("torch", "zarr", "distributed", "matplotlib", "sklearn", "numba", "xarray")


def test_the_first_import_is_light():
    """What a researcher waits for before `dnuc --help` answers."""
    program = (
        "import sys, importlib\n"
        "for module in ('dnuc', 'dnuc.job', 'dnuc.errors', 'dnuc.cli'):\n"
        f"    importlib.import_module(module); print(module, *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["dnuc", "dnuc.job", "dnuc.errors", "dnuc.cli"]


def test_every_public_name_is_there():
    for name in dnuc.__all__:
        assert getattr(dnuc, name) is not None
    assert set(dnuc._HOME) | {"__version__"} == set(dnuc.__all__) == set(dir(dnuc))
    with pytest.raises(AttributeError, match="no attribute 'nearest_neighbours'"):
        _ = dnuc.nearest_neighbours
