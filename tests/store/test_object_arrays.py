"""Arrays in an object store: the same objects as files in a directory, and the same answers to damage."""

import pickle

import numpy as np
import pytest

from dnuc.errors import StoreError
from dnuc.location import ObjectPath, locate
from dnuc.store import RunStore, arrays
from tests.buckets import download
from tests.store.test_arrays import FEATURES, GROUP, ROWS, N, chunk_file, fill, flip, reading


@pytest.fixture
def store(request, bucket, monkeypatch):
    """Activations of 100 samples in 7 blocks, complete; the chunks of a block share a shard."""
    monkeypatch.setattr(arrays, "CHUNK_BYTES", getattr(request, "param", 2**20))
    return fill(f"{bucket}/run")


def test_the_objects_are_the_files_of_a_directory(store, tmp_path):
    on_disk = fill(tmp_path / "run")
    copy = download(store.path, tmp_path / "copy")
    files = {f.relative_to(on_disk.path) for f in on_disk.path.rglob("*") if f.is_file()}
    assert {f.relative_to(copy) for f in copy.rglob("*") if f.is_file()} == files
    for file in files:
        assert (copy / file).read_bytes() == (on_disk.path / file).read_bytes()


def test_what_is_sent_to_a_worker_is_small_and_opens_there(store):
    array = pickle.loads(pickle.dumps((store, store.array(GROUP, "activation"))))[1]
    assert (array.shape, array.chunks, array.ndim, array.lost, len(array)) == ((N, FEATURES), (ROWS, 8), 2, 0, N)
    assert len(pickle.dumps((store, array))) < 1000
    assert store.dataset(GROUP)["activation"].shape == (N, FEATURES)


@pytest.mark.parametrize("store", [2**20, 1], ids=["sharded", "chunked"], indirect=True)
def test_a_flipped_bit_is_told_with_array_and_place(store):
    flip(chunk_file(store, 2), -9)
    error = reading(store)
    assert (error.run, error.group, error.name, error.first) == (str(store.path), GROUP, "activation", (32, 0))
    assert "--repair" in str(error)
    assert store.repair(error) == f"samples 32 .. 47 of {GROUP} will be extracted again"
    assert store.flags(GROUP, "block_done").tolist() == [True, True, False, True, True, True, True]


@pytest.mark.parametrize("size", [1, 4, 300, -1])
def test_an_object_that_is_cut_off_is_told(store, size):
    file = chunk_file(store, 6)
    file.write_bytes(file.read_bytes()[:size])
    assert reading(store).first == (96, 0)


def test_a_lost_object_reads_as_nan(store):
    chunk_file(store, 3).unlink()
    values = store.array(GROUP, "activation")[:]
    assert np.isnan(values[48:64]).all()
    assert np.isfinite(np.delete(values, np.s_[48:64], axis=0)).all()
    assert store.array(GROUP, "activation").lost == 9  # chunks of 8 features share the object
    (store.path / GROUP / "block_done/c/5").unlink()
    assert store.flags(GROUP, "block_done").tolist() == [True] * 5 + [False, True]


def assert_dropped_and_made_anew(store):
    """A group without arrays, whose marker stays; it takes arrays of another shape, and goes."""
    assert store.is_complete(GROUP)
    assert not store.has(GROUP, "activation")
    store.begin(GROUP, "d")
    store.declare(GROUP, "activation", (6, 5), (3, 5))
    store.write(GROUP, "activation", slice(3, 6), np.full((3, 5), 2, np.float32))
    assert store.array(GROUP, "activation")[3:].tolist() == [[2.0] * 5] * 3
    store.drop(GROUP)
    assert not store.exists(GROUP)


def test_another_shape_takes_the_place_of_an_array(store):
    """What was opened for writing is kept; what is deleted is forgotten."""
    for size in (40, 30):
        store.save("samples", {"label": np.arange(size)})
        assert store.read("samples", "label").tolist() == list(range(size))
    store.release(GROUP)
    assert_dropped_and_made_anew(store)
    assert not (store.path / GROUP).exists()
    store.begin(GROUP, "e")
    store.declare(GROUP, "activation", (4, 3), (2, 3))
    store.write(GROUP, "activation", slice(0, 2), np.ones((2, 3), np.float32))
    assert store.array(GROUP, "activation")[:2].tolist() == [[1.0] * 3] * 2


def test_a_deletion_that_is_interrupted_leaves_no_group(store, monkeypatch):
    calls, remove = [], ObjectPath.remove

    def cut_off(path, paths):
        calls.append(paths)
        if len(calls) == 2:
            raise KeyboardInterrupt
        remove(path, paths)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectPath, "remove", cut_off)
        with pytest.raises(KeyboardInterrupt):
            store.release(GROUP)
    assert_dropped_and_made_anew(store)
    assert not store.begin(GROUP, "d")  # nothing to go on with
    assert not store.has(GROUP, "activation")


def test_a_run_of_another_format_is_refused(store):
    store.describe("", dnuc_format=99)
    with pytest.raises(StoreError, match=rf"{store.path} has store format 99"):
        RunStore.open(store.path)
    assert locate(store.path) is store.path
