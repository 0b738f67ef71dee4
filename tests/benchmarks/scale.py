"""`make bench-scale`: time and memory of everything after the neighbors, at the size of ImageNet.

The data and their neighbors are made first (`scale_data.py`) and stored in a run directory as a search leaves them.
Then `dnuc run` computes what follows, as for any other job, and is watched from outside (`resident.py`).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tomli_w
import typer

from dnuc.cluster import Local, Progress, connect
from dnuc.job import read_job
from dnuc.pipeline import layer_searches, open_layers
from dnuc.store import Results, RunStore
from tests.benchmarks.machine import ROOT, this_machine
from tests.benchmarks.page import markdown, write
from tests.benchmarks.resident import OUTSIDE, Watched, watch
from tests.benchmarks.scale_data import DIMENSION, IMAGENET, LAYERS, store_lists, write_arrays

PAGE = ROOT / "docs" / "results" / "imagenet_scale.md"
WORKERS, MEMORY = 2, "5GB"
K, DENSITY_K = 130, 30  # those of jobs/imagenet1000.toml
QUICK = 20_000  # samples
MINUTES, GIGABYTES = 20, 12  # what it must stay below

TEXT = """\
# At the size of ImageNet: what comes after the neighbors

Written by `make bench-scale`.{note} {samples:,} samples of 1000 classes (ImageNet's, with WordNet above them) in
{layers} layers, with the {k} nearest neighbors of each: overlaps at k = {k} and {density_k}, overlap with the classes
and macro classes, intrinsic dimension at all scales, hubs, density (k = {density_k}), peaks, tree, agreement with all
levels of WordNet, figures, tables and the page. The settings are those of `jobs/imagenet1000.toml`.

The samples are synthetic: clusters that nest as the classes do in WordNet, in {dimension} dimensions, where a k-d tree
finds the exact neighbors fast; from the neighbors on it makes no difference how many features there are. They are
stored as a finished search leaves them, and `dnuc run` does the rest with {workers} workers of a LocalCluster, one
thread each.

| this machine | |
|---|---|
{machine}

**{minutes:.1f} minutes in all ({cpu:.1f} of processor time), and at most {peak} of memory**; the targets are
{target_minutes} minutes and {target_memory} GB.

{stages}

Memory: the largest sum over all processes (the client, its scheduler, {workers} workers) and the largest single one,
looked at five times a second; pages that processes share count for each, so it is an upper bound. "{outside}" is the
start of the workers, the checks that everything before is there, and the end.

What was found, so that a reader sees the size of it:

{found}

On disk: neighbors {neighbors_bytes}, all other results {results_bytes}, tables {tables_bytes}, and the page
{page_bytes}.

To make the data and their neighbors took {prepared:.1f} minutes.

## Run it again

    make bench-scale
    make bench-scale ARGS="--quick"             # {quick:,} samples: does it work?
    make bench-scale ARGS="--keep DIRECTORY"    # keep data, neighbors and results, and look at the report
"""


def write_job(directory: Path) -> None:
    """job.toml, that of `jobs/imagenet1000.toml` but for where its samples come from, and place.toml."""
    job = {
        "name": "imagenet1000",
        "title": "All of ImageNet's size",
        "data": {
            "source": "arrays",
            "labels": "labels.npy",
            "ids": "ids.txt",
            "taxonomy": "wordnet",
            "macro_roots": ["animal.n.01", "artifact.n.01"],
        },
        "model": [{"name": "mixture", "arrays": {layer.name: f"{layer.name}.npy" for layer in LAYERS}}],
        "neighbors": {"k": K},
        "measures": {"overlap_k": [K, DENSITY_K]},
        "landscape": {"k": DENSITY_K, "integer_dimension": True},
    }
    place = {"kind": "local", "workers": WORKERS, "memory": MEMORY}
    for name, content in (("job", job), ("place", place)):
        (directory / f"{name}.toml").write_text(tomli_w.dumps(content), encoding="utf-8")


def prepare_once(directory: Path, n: int) -> float:
    """`prepare`, unless directory holds it; what was computed after that is taken back. Returns the seconds it took."""
    mark = directory / "prepared"
    if not mark.is_file():
        start = time.monotonic()
        prepare(directory, n)
        check(directory)
        mark.write_text(str(time.monotonic() - start), encoding="utf-8")
    for stage in ("measures", "landscape", "dimension"):
        for group in (directory / "run").glob(f"models/*/*/{stage}"):
            shutil.rmtree(group)
    for group in (*(directory / "run").glob("models/*/overlaps"), directory / "run" / "report"):
        shutil.rmtree(group, ignore_errors=True)
    return float(mark.read_text(encoding="utf-8"))


def prepare(directory: Path, n: int) -> None:
    """Data, a job, and directory/run, where the job's neighbors are found already."""
    write_arrays(directory, n)
    write_job(directory)
    job, store = read_job(directory / "job.toml"), RunStore.create(directory / "run")
    with connect(Local(workers=1, memory="4GB"), Progress(store.path, quiet=True)) as cluster:
        layers, _ = open_layers(store, job, cluster)
        layers.extract(layers.digests)
    for search in layer_searches(layers.digests, job):
        store_lists(store, search, np.load(directory / f"{search.layer}.npy"), K)


def check(directory: Path, rows: int = 5) -> None:
    """The stored neighbors of some samples, against all distances."""
    results = Results(directory / "run")
    for layer in LAYERS:
        x = np.load(directory / f"{layer.name}.npy").astype(np.float64)
        group = f"models/mixture/{layer.name}/neighbors"
        stored = {name: results.store.array(group, f"neighbor_{name}") for name in ("index", "distance")}
        for row in np.random.default_rng(0).integers(0, len(x), rows).tolist():
            distance = np.sqrt(((x - x[row]) ** 2).sum(axis=1))
            distance[row] = np.inf
            nearest = np.argsort(distance, kind="stable")[:K]
            np.testing.assert_array_equal(stored["index"][row : row + 1][0], nearest)
            np.testing.assert_allclose(stored["distance"][row : row + 1][0], distance[nearest], rtol=1e-12)


def measure(directory: Path) -> Watched:
    """`dnuc run` of what was prepared, watched."""
    job, place, run = (str(directory / name) for name in ("job.toml", "place.toml", "run"))
    return watch([sys.executable, "-m", "dnuc", "run", job, "--on", place, "--out", run], Path(run))


def page(watched: Watched, run: Path, prepared: float, note: str) -> str:
    """docs/results/imagenet_scale.md."""
    results = Results(run)
    return TEXT.format(
        note=f" {note}" if note else "",
        samples=len(results.store.array("samples", "label")),
        layers=len(LAYERS),
        k=K,
        density_k=DENSITY_K,
        dimension=DIMENSION,
        workers=WORKERS,
        machine="\n".join(this_machine().lines()),
        minutes=watched.seconds / 60,
        cpu=watched.cpu / 60,
        peak=_gigabytes(watched.peak),
        target_minutes=MINUTES,
        target_memory=GIGABYTES,
        stages=_stages(watched).strip(),
        outside=OUTSIDE,
        found=_found(results).strip(),
        neighbors_bytes=_gigabytes(sum(_bytes(d) for d in run.glob("models/*/*/neighbors"))),
        results_bytes=_gigabytes(sum(_bytes(d) for d in _others(run))),
        tables_bytes=_gigabytes(_bytes(run / "report" / "tables")),
        page_bytes=f"{(run / 'report' / 'index.html').stat().st_size / 1e6:.1f} MB",
        prepared=prepared / 60,
        quick=QUICK,
    )


def _stages(watched: Watched) -> str:
    """A row a stage."""
    seconds = {stage["name"]: stage["seconds"] for stage in watched.stages}
    seconds[OUTSIDE] = watched.seconds - sum(seconds.values())
    rows = [
        [name, f"{took:.0f}", *(_gigabytes(of.get(name, 0)) for of in (watched.resident, watched.largest))]
        for name, took in seconds.items()
    ]
    return markdown(["stage", "seconds", "memory of all processes", "of the largest"], rows)


def _found(results: Results) -> str:
    """A row a layer."""
    columns = {
        "intrinsic_dimension": ("intrinsic dimension", ".2f"),
        "label_overlap": ("overlap with the classes", ".3f"),
        "macro_overlap": ("with macro classes", ".3f"),
        "n_peaks": ("peaks", ",.0f"),
        "ari_class": ("ARI with the classes", ".3f"),
        "taxonomy_correlation": ("correlation of tree and WordNet", ".3f"),
    }
    rows = [
        [row["layer"], *(format(row[name], form) for name, (_, form) in columns.items())]
        for _, row in results.layers.iterrows()
    ]
    return markdown(["layer", *(title for title, _ in columns.values())], rows)


def _others(run: Path) -> list[Path]:
    """What is stored of layers beside activations and neighbors."""
    return [d for d in run.glob("models/*/*/*") if d.is_dir() and d.name not in ("activations", "neighbors")]


def _bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


Quick = Annotated[bool, typer.Option("--quick", help="Few samples, minutes: does it work?")]
Keep = Annotated[Path | None, typer.Option(help="A directory that is kept; what was prepared there is used again.")]
Note = Annotated[str, typer.Option(help="A sentence for the page, such as what else ran on the machine.")]
Out = Annotated[
    Path | None, typer.Option(help="Where the page goes; docs/results/imagenet_scale.md, or nowhere with --quick.")
]


def main(quick: Quick = False, keep: Keep = None, note: Note = "", out: Out = None) -> None:
    """Everything after the neighbors of 1,281,167 samples, watched."""
    with tempfile.TemporaryDirectory(prefix="dnuc-bench-") as temporary:
        directory = keep or Path(temporary)
        seconds = prepare_once(directory, QUICK if quick else IMAGENET)
        typer.echo(f"prepared in {seconds / 60:.1f} minutes; running")
        watched = measure(directory)
        text = page(watched, directory / "run", seconds, note)
    typer.echo(text)
    write(text, out or (None if quick else PAGE))


if __name__ == "__main__":
    typer.run(main)
