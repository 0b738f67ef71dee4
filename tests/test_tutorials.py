"""The tutorials: kept without outputs, and every cell runs, without a warning and without the internet."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

TUTORIALS = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("*.ipynb"))
STRICT = new_code_cell("import warnings; warnings.simplefilter('error')")
LENIENT = new_code_cell("warnings.simplefilter('default')")  # the kernel's own shutdown warns
NOWHERE = "http://127.0.0.1:9"  # nobody listens there

each = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


def test_there_are_two():
    assert len(TUTORIALS) == 2


@each
def test_outputs_are_stripped_and_cells_have_names(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert not cell.metadata, cell.id
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), f"{path.name}: strip the output of {cell.id}"
    names = [cell.id for cell in notebook.cells]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() and not name.isdigit() for name in names)


@each
def test_links_lead_somewhere(path):
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = {line.lstrip("# ").replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
    for target in [part.split(")")[0] for part in text.split("](")[1:]]:
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.cluster
@pytest.mark.timeout(1200)  # one of them trains a network; a minute where nothing else runs
@each
def test_every_cell_runs(path, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws into the notebook
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [STRICT, *notebook.cells, LENIENT]
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    told = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not [text for text in told if "Warning" in text or "Traceback" in text], told
    figures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert figures >= 5
