"""Files from elsewhere are data: whatever they hold, nothing in them is run, and nothing leads out of its directory.

Each file holds a pickle that would leave a mark if it were opened as Python opens pickles.
"""

import json
import os
import pickle
import shutil
import tarfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet18_Weights

from dnuc.activations import stage
from dnuc.activations.models import build_network
from dnuc.activations.weights import load_tensors, read_checkpoint
from dnuc.cluster.submission import RECORD, read_receipt
from dnuc.data import open_source
from dnuc.data.arrays import read_labels
from dnuc.data.text import read_ids, read_table
from dnuc.errors import DataError, DnucError, LayerError, StoreError
from dnuc.job import Data, Model
from dnuc.notebook import open_run
from dnuc.pipeline import run_job
from dnuc.store import DamagedError, RunStore, open_external
from tests.conftest import arrays_job, digits_job


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def trap(tmp_path):
    """The trap; the test fails if it was sprung, or could not have been."""
    mark = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(mark)))
    mark.rmdir()
    yield Trap(mark)
    assert not mark.exists(), "code in a file was run"


def pickled(path, trap):
    path.write_bytes(pickle.dumps(trap, protocol=2))  # torch warns of newer ones
    return path


# --- networks -----------------------------------------------------------------------------------------------------


def write_zip(path, trap):
    torch.save({"state_dict": trap}, path)


def write_old(path, trap):
    torch.save({"weight": trap}, path, _use_new_zipfile_serialization=False)


def write_tar(path, trap):
    """The oldest form of torch's files."""
    inner = path.with_suffix(".pickle")
    inner.write_bytes(pickle.dumps(trap))
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.add(inner, name)


@pytest.mark.parametrize("write", [write_zip, write_old, write_tar, pickled])
def test_checkpoints(tmp_path, trap, write):
    path = tmp_path / "weights.pth"
    write(path, trap)
    for read in (read_checkpoint, load_tensors):
        with pytest.raises(LayerError, match=r"weights '.*weights.pth' refused: .* can run code when it is opened"):
            read(path)
    job = digits_job(tmp_path, model=[{"name": "net", "architecture": "residual", "weights": str(path)}])
    with pytest.raises(LayerError, match="refused"):
        run_job(job, out=tmp_path / "run", quiet=True)


@pytest.mark.parametrize("write", [write_zip, write_old, pickled])
def test_published_weights_in_torchs_cache(tmp_path, trap, write, monkeypatch):
    """torchvision itself would open them as pickles: they are checked only when they are downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    enum = ResNet18_Weights.IMAGENET1K_V1
    path = tmp_path / "hub" / "checkpoints" / enum.url.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    write(path, trap)
    model = Model(name="net", architecture="resnet18", weights="IMAGENET1K_V1")
    with pytest.raises(LayerError, match=r"could not be loaded \(it holds more than plain.* is there, but damaged"):
        build_network(model, seed=0, n_classes=1000, image_shape=(224, 224, 3))
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_weights_that_a_run_has_trained(here, tmp_path, trap):
    model = {"name": "net", "architecture": "residual", "options": {"width": 2, "blocks": 1}, "layers": ["output"]}
    job = digits_job(tmp_path, model=[model | {"train": {"epochs": 1}}])
    run = run_job(job, out=tmp_path / "run", quiet=True)
    store = RunStore(run)
    files = sorted(p for p in run.rglob("*.pt"))
    assert files
    for path in files:
        write_zip(path, trap)
    store.drop("models/net/fc")
    stage._network.cache_clear()
    with pytest.raises(DnucError, match=r"refused|damaged"):
        run_job(job, out=run, quiet=True)


# --- images -------------------------------------------------------------------------------------------------------


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("format", ["EPS", "GIF", "TIFF", "BMP", "PPM"])
def test_images_of_other_formats_under_a_familiar_name(tmp_path, monkeypatch, format):
    """Pillow goes by content, and for some formats starts other programs: Ghostscript for this EPS."""
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *args, **settings: started.append(args))
    path = tmp_path / "cat" / "x.JPEG"
    path.parent.mkdir()
    if format == "EPS":
        path.write_bytes(EPS)
    else:
        Image.new("RGB", (8, 8)).save(path, format=format)
    with Image.open(path) as picture:
        assert picture.format == format  # Pillow itself would read it
    with pytest.raises(DataError, match=r"image 'cat/x.JPEG' .* cannot be read"):
        open_source(Data(source="image_folder", path=tmp_path)).image("cat/x.JPEG")
    assert not started


# --- arrays -------------------------------------------------------------------------------------------------------


def test_given_arrays(tmp_path, trap):
    np.save(tmp_path / "objects.npy", np.array([[trap]], dtype=object), allow_pickle=True)
    pickled(tmp_path / "pickle.npy", trap)
    for name in ("objects.npy", "pickle.npy"):
        with pytest.raises(DataError, match=rf"{name}' cannot be opened"):
            open_external(tmp_path / name)


@pytest.mark.parametrize(
    ("dtype", "filters", "compressor"),
    [
        ("<f8", [{"id": "pickle", "protocol": 5}], None),
        ("<f8", None, {"id": "pickle", "protocol": 5}),
        ("<f8", [{"id": "shuffle", "elementsize": 8}, {"id": "pickle", "protocol": 5}], None),
        ("|O", [{"id": "pickle", "protocol": 5}], None),
        ("|O", [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 5}], None),
    ],
)
def test_zarr_arrays_whose_codec_is_pickle(tmp_path, trap, dtype, filters, compressor):
    """An older version of the format had such a codec, and its arrays can still be opened."""
    path = tmp_path / "array.zarr"
    path.mkdir()
    shape = {"shape": [4, 2], "chunks": [4, 2], "dtype": dtype, "fill_value": 0, "order": "C", "zarr_format": 2}
    (path / ".zarray").write_text(json.dumps(shape | {"filters": filters, "compressor": compressor}))
    pickled(path / "0.0", trap)
    with pytest.raises(DataError, match=r"array.zarr"):
        open_external(path)[:]


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run that a test may spoil."""
    path = tmp_path / "run"
    shutil.copytree(finished[1], path)
    return path


def test_chunks(run, trap):
    for chunk in run.glob("models/net/late/*/*/c/**/0"):
        if chunk.is_file():
            pickled(chunk, trap)
    with pytest.raises(DamagedError, match="models/net/late"):
        RunStore(run).read("models/net/late/neighbors", "neighbor_index")
    with pytest.raises(DamagedError):
        open_run(run).neighbors("late")


def test_arrays_of_a_run_that_were_replaced(run, trap):
    """By an array of the older format, beside the description of the newer one and instead of it."""
    array = run / "models/net/late/neighbors/neighbor_index"
    old = {"zarr_format": 2, "shape": [240, 10], "chunks": [240, 10], "dtype": "<i8", "fill_value": 0, "order": "C"}
    (array / ".zarray").write_text(json.dumps(old | {"filters": [{"id": "pickle"}], "compressor": None}))
    pickled(array / "0.0", trap)
    open_run(run).neighbors("late")  # the newer description counts
    (array / "zarr.json").unlink()
    with pytest.raises(StoreError, match="has no array"):
        open_run(run).neighbors("late")
    with pytest.raises(StoreError):
        RunStore(run).read("models/net/late/neighbors", "neighbor_index")


# --- labels, ids, tables ------------------------------------------------------------------------------------------


def test_labels_and_id_lists(tmp_path, trap):
    np.save(tmp_path / "labels.npy", np.array([trap], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"labels.npy' is not a .npy file of integers or strings"):
        read_labels(tmp_path / "labels.npy")
    path = pickled(tmp_path / "labels.txt", trap)
    for read in (read_labels, read_ids, lambda p: read_table(p, "data.macro")):
        with pytest.raises(DataError, match="not readable as UTF-8 text"):
            read(path)


@pytest.mark.parametrize("key", ["labels", "ids"])
def test_in_a_job(here, finished, tmp_path, trap, key):
    name = "labels.npy" if key == "labels" else "ids.txt"
    pickled(tmp_path / name, trap)
    job = arrays_job(finished[0])
    data = job.data.model_copy(update={key: tmp_path / name})
    with pytest.raises(DataError, match=rf"data.{key} = .*{name}"):
        run_job(job.model_copy(update={"data": data}), out=tmp_path / "run", quiet=True)


# --- run directories of somebody else -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", "../../outside", "/etc", "a/b", "", "."])
def test_names_in_a_run_lead_nowhere_else(run, name):
    store = RunStore(run)
    store.describe("models/net", layers=[{"name": name, "depth": 0}])
    with pytest.raises(StoreError, match="which leads out of it: dnuc did not write that"):
        list(store.each_layer())
    store.describe("", models=[name])
    with pytest.raises(StoreError, match="which leads out of it: dnuc did not write that"):
        store.models()


def test_a_run_that_was_tampered_with_deletes_nothing_outside(here, finished, run, tmp_path):
    outside = tmp_path / "outside" / "measures"
    outside.mkdir(parents=True)
    (outside / "zarr.json").write_text("{}")
    store = RunStore(run)
    layers = store.layers("net")
    store.describe("models/net", layers=[layers[0], layers[1] | {"name": "../../../outside"}, *layers[2:]])
    with suppress(StoreError):
        run_job(arrays_job(finished[0], landscape={"z": 2.0}), out=run, quiet=True)
    assert (outside / "zarr.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("by", "identity"),
    [("slurm", "--user=me"), ("slurm", "1 2"), ("kubernetes", "--all in default"), ("process", "-1"), ("other", "1")],
)
def test_a_record_of_a_submission_is_no_command(tmp_path, by, identity):
    record = {"by": by, "id": identity, "host": "h", "time": 0.0, "follow": [], "began": 0.0}
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(StoreError, match="dnuc did not write that; remove it"):
        read_receipt(tmp_path)
