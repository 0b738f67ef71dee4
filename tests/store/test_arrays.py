"""How an array lies on disk, who may write which part of it, and that damage is told by array and place."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from dnuc.errors import StoreError
from dnuc.store import DamagedError, RunStore, StoredArray, arrays, stage_group
from dnuc.store.schema import STAGES

GROUP = stage_group("net", "fc", "activations")
N, FEATURES, ROWS = 100, 70, 16


@pytest.fixture
def store(request, tmp_path, monkeypatch):
    """Activations of 100 samples in 7 blocks, complete; the chunks of a block share a shard."""
    monkeypatch.setattr(arrays, "CHUNK_BYTES", getattr(request, "param", 2**20))
    return fill(tmp_path / "run")


def fill(path):
    store = RunStore.create(path)
    values = np.random.default_rng(0).standard_normal((N, FEATURES)).astype(np.float32)
    store.begin(GROUP, "d")
    store.declare(GROUP, "activation", values.shape, (ROWS, 8))
    store.declare(GROUP, "block_done", (7,), (1,))
    for block in range(7):
        rows = slice(block * ROWS, min(N, (block + 1) * ROWS))
        store.write(GROUP, "activation", (rows, slice(None)), values[rows])
        store.write(GROUP, "block_done", slice(block, block + 1), np.ones(1, np.uint8))
    store.finish(GROUP)
    return store


either_layout = pytest.mark.parametrize("store", [2**20, 1], ids=["sharded", "chunked"], indirect=True)


def chunk_file(store, block):
    """The file that holds the first features of a block of rows."""
    return store.path / GROUP / "activation/c" / str(block) / "0"


def flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def reading(store):
    def read_block_by_block():
        for first in range(0, N, ROWS):
            store.array(GROUP, "activation")[first : first + ROWS, 0:FEATURES]

    with pytest.raises(DamagedError) as damaged:
        read_block_by_block()
    return damaged.value


# --- layout -----------------------------------------------------------------------------------------------------

sizes = st.integers(1, 10**6)


@given(sizes, sizes, sizes, sizes, st.sampled_from([2, 4, 8]))
def test_a_row_block_is_whole_chunks_and_whole_shards(n, features, rows, width, itemsize):
    """Blocks of `rows` samples are written by different workers: none may share a file with another."""
    chunk, shard = arrays._layout((n, features), (rows, width), itemsize)
    assert chunk[0] == min(rows, n)
    unit = shard or chunk
    assert unit[0] == chunk[0]
    if shard:
        assert shard[1] % chunk[1] == 0
        assert shard[1] < features + chunk[1]
        assert itemsize * shard[0] * shard[1] <= max(arrays.CHUNK_BYTES, itemsize * chunk[0] * chunk[1])


@given(sizes, sizes, st.sampled_from([2, 4, 8]))
def test_default_chunks_are_whole_rows_of_bounded_size(n, features, itemsize):
    chunk, shard = arrays._layout((n, features), None, itemsize)
    assert shard is None
    assert chunk[1] == features
    assert 1 <= chunk[0] <= n
    assert chunk[0] == 1 or itemsize * chunk[0] * features <= arrays.CHUNK_BYTES


@pytest.mark.parametrize(
    ("shape", "chunks", "expected"),
    [
        ((90_000, 802_816), (1024, 8192), ((1024, 8192), (1024, 32768))),  # 32 MiB chunks, 4 a shard
        ((90_000, 802_816), (4096, 8192), ((4096, 8192), None)),  # 128 MiB already
        ((90_000, 2048), (4096, 8192), ((4096, 2048), None)),
        ((90_000, 10_000), (1024, 8192), ((1024, 8192), (1024, 16384))),
        ((10, 10_000), (1024, 8192), ((10, 8192), (10, 16384))),
        ((0,), None, ((1,), None)),
        ((4, 0), None, ((4, 1), None)),
    ],
)
def test_layout_of_real_layers(shape, chunks, expected):
    assert arrays._layout(shape, chunks, 4) == expected


def test_blocks_share_no_file(store):
    """Writing one block leaves the files of all others alone."""
    root = store.path / GROUP / "activation/c"
    before = {f: f.stat().st_mtime_ns for f in root.rglob("*") if f.is_file()}
    store.write(GROUP, "activation", (slice(32, 48), slice(None)), np.zeros((16, FEATURES), np.float32))
    changed = {f.relative_to(root).parts[0] for f, time in before.items() if f.stat().st_mtime_ns != time}
    assert changed == {"2"}


def test_chunks_of_nothing_but_the_fill_value_are_written(tmp_path):
    """So that a file that is not there is known to be lost."""
    store = RunStore.create(tmp_path)
    store.save("samples", {"label": np.full(10, -1)})
    assert (tmp_path / "samples/label/c/0").is_file()
    assert store.array("samples", "label").lost == 0


def test_every_declared_array_can_be_stored_and_read(tmp_path):
    store = RunStore.create(tmp_path)
    rng = np.random.default_rng(0)
    for stage, variables in STAGES.items():
        group = "samples" if stage == "samples" else stage_group("m", "l", stage)
        for name, variable in variables.items():
            shape = (3, 4, 5, 2, 2)[: len(variable.dims)]
            if variable.dtype == "str":
                values = np.array(["a", "", "ü"], dtype=np.dtypes.StringDType())
            else:
                values = rng.integers(0, 2, shape).astype(variable.dtype)
            store.save(group, {name: values})
            stored = zarr.open_array(str(tmp_path), path=f"{group}/{name}", mode="r")
            assert stored.metadata.dimension_names == variable.dims
            assert stored.attrs["long_name"] == variable.meaning
            assert stored.attrs.get("units", "") == variable.units
            np.testing.assert_array_equal(store.read(group, name), values)
            assert any("crc32c" in str(codec).lower() for codec in stored.metadata.codecs)


def test_the_ids_of_some_samples_are_read_without_the_others(tmp_path):
    """Every task of an extraction reads its own: all of a million, each time, would take longer than its work."""
    store, ids = RunStore.create(tmp_path), np.arange(3 * arrays.TEXTS).astype(np.dtypes.StringDType())
    store.save("samples", {"id": ids})
    for chunk in (0, 2):  # of three
        (tmp_path / f"samples/id/c/{chunk}").unlink()
    assert (
        store.array("samples", "id")[arrays.TEXTS : 2 * arrays.TEXTS].tolist()
        == ids[arrays.TEXTS : 2 * arrays.TEXTS].tolist()
    )


def test_float16_activations_are_stored_as_such(tmp_path):
    store = RunStore.create(tmp_path)
    store.declare(GROUP, "activation", (4, 3), (2, 3), "float16")
    assert store.array(GROUP, "activation").dtype == np.float16


# --- damage -----------------------------------------------------------------------------------------------------


@either_layout
@pytest.mark.parametrize("position", [0, -1, -9])
def test_a_flipped_bit_is_told_with_array_and_place(store, position):
    flip(chunk_file(store, 2), position)
    error = reading(store)
    assert (error.run, error.group, error.name, error.first) == (str(store.path), GROUP, "activation", (32, 0))
    assert f"array {GROUP}/activation in {store.path} is damaged at or after element (32, 0): " in str(error)
    assert "--repair" in str(error)
    assert np.isfinite(store.array(GROUP, "activation")[:32]).all()  # the rest is readable


@either_layout
@pytest.mark.parametrize("size", [1, 4, -1])
def test_a_truncated_file_is_told(store, size):
    file = chunk_file(store, 6)
    file.write_bytes(file.read_bytes()[:size])
    assert reading(store).first == (96, 0)


@either_layout
def test_a_lost_file_reads_as_nan(store):
    chunk_file(store, 3).unlink()
    values = store.array(GROUP, "activation")[:]
    assert np.isnan(values[48:64, 0:8]).all()
    assert np.isfinite(np.delete(values, np.s_[48:64], axis=0)).all()


@pytest.mark.parametrize("damage", ["flip", "truncate", "lose"])
@pytest.mark.parametrize("name", ["label", "id"])
def test_damage_to_a_small_array(tmp_path, name, damage):
    store = RunStore.create(tmp_path)
    store.begin("samples", "d")
    ids = np.array([f"sample {i}" for i in range(40)], dtype=np.dtypes.StringDType())
    store.save("samples", {"label": np.arange(40), "id": ids})
    store.finish("samples")
    file = tmp_path / "samples" / name / "c/0"
    if damage == "flip":
        flip(file, 12)
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:-7])
    else:
        file.unlink()
    with pytest.raises(
        DamagedError, match=rf"array samples/{name} in .* is damaged at or after element \(0\): "
    ) as error:
        store.read("samples", name)
    assert ("1 of its files are lost" in str(error.value)) == (damage == "lose")


def test_an_unfinished_array_may_lack_files(tmp_path):
    """An interrupted search has not written all its lists."""
    store = RunStore.create(tmp_path)
    group = stage_group("m", "l", "neighbors")
    store.begin(group, "d")
    store.declare(group, "neighbor_index", (6, 2), (2, 2))
    store.write(group, "neighbor_index", slice(0, 2), np.ones((2, 2), np.int64))
    np.testing.assert_array_equal(store.read(group, "neighbor_index")[:, 0], [1, 1, -1, -1, -1, -1])
    store.finish(group)
    with pytest.raises(DamagedError, match="2 of its files are lost"):
        store.read(group, "neighbor_index")


def test_an_unreadable_description_is_damage_too(store):
    file = store.path / GROUP / "activation/zarr.json"
    file.write_text(file.read_text()[:20])
    with pytest.raises(DamagedError, match=r"is damaged: its description zarr\.json cannot be read") as error:
        store.array(GROUP, "activation")[:]
    assert store.repair(error.value) == f"{GROUP} will be computed again"
    assert not store.exists(GROUP)


def test_indices_are_mistakes_of_the_caller_not_damage(store):
    with pytest.raises(IndexError):
        store.array(GROUP, "activation")[1000]
    with pytest.raises(IndexError):
        store.array(GROUP, "activation")[0:2, 0:2, 0:2]


# --- repair -----------------------------------------------------------------------------------------------------


@either_layout
def test_repair_forgets_only_the_damaged_block(store):
    flip(chunk_file(store, 2), 5)
    with pytest.raises(DamagedError) as error:
        store.array(GROUP, "activation")[0:N, 0:8]  # a block of the search may hold several stored blocks
    assert error.value.first == (0, 0)
    assert store.repair(error.value) == f"samples 32 .. 47 of {GROUP} will be extracted again"
    assert store.flags(GROUP, "block_done").tolist() == [True, True, False, True, True, True, True]
    assert not store.is_complete(GROUP)
    assert store.begin(GROUP, "d")  # there is work to go on with


def test_repair_of_descriptions_that_a_power_cut_made_empty(tmp_path):
    """A group is dropped; the root is written again, and keeps what is below it."""
    store = RunStore.create(tmp_path / "run")
    store.finish("samples")
    store.begin("models/m/fc/neighbors", "digest")
    for group, told in (("models/m/fc/neighbors", r"models/m/fc/neighbors/zarr.json in"), ("", r"^zarr.json in")):
        (store.path / group / "zarr.json").write_bytes(b"")
        with pytest.raises(DamagedError, match=rf"{told} \S+ is damaged: its description .* with --repair") as caught:
            store.attributes(group)
        with pytest.raises(DamagedError):
            RunStore.create(store.path).is_complete(group)
        RunStore(store.path).repair(caught.value)
    assert RunStore.create(store.path).is_complete("samples")
    assert not store.exists("models/m/fc/neighbors")


def test_repair_of_a_lost_file(store):
    chunk_file(store, 6).unlink()
    error = DamagedError(str(store.path), GROUP, "activation", (90, 0), "values are missing")
    assert store.repair(error) == f"samples 96 .. 99 of {GROUP} will be extracted again"


@pytest.mark.parametrize(("stage", "name"), [("neighbors", "neighbor_index"), ("activations", "block_done")])
def test_repair_of_anything_else_drops_its_stage_alone(store, stage, name):
    group = stage_group("net", "fc", stage)
    store.describe(group, digest="d")
    store.describe(stage_group("net", "fc", "measures"), digest="d")
    assert store.repair(DamagedError("run", group, name, (0, 0), "why")) == f"{group} will be computed again"
    assert not store.exists(group)
    assert store.exists(stage_group("net", "fc", "measures"))


def test_an_unreadable_ledger_entry_counts_as_not_done(store):
    flip(store.path / GROUP / "block_done/c/4", 0)
    assert store.flags(GROUP, "block_done").tolist() == [True] * 4 + [False] + [True] * 2


# --- addresses --------------------------------------------------------------------------------------------------


def test_what_travels_to_a_worker_is_small_and_opens_there(store):
    array = store.array(GROUP, "activation")
    array[:2]  # opened here
    for thing in (store, array):
        assert len(pickle.dumps(thing)) < 300
    copy = pickle.loads(pickle.dumps(array))
    assert copy == array
    assert (copy.shape, copy.ndim, len(copy), copy.dtype, copy.chunks) == ((N, FEATURES), 2, N, np.float32, (ROWS, 8))
    np.testing.assert_array_equal(copy[5:9, 3], array[5:9, 3])
    assert pickle.loads(pickle.dumps(store)).path == store.path


def test_a_damage_report_survives_the_way_from_a_worker():
    error = DamagedError("run", "group", "name", (3, 4), "why")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.run, copy.group, copy.name, copy.first) == ("run", "group", "name", (3, 4))
    assert isinstance(copy, DamagedError)


def test_an_array_that_is_not_there(store):
    with pytest.raises(StoreError, match=r"has no array models/net/fc/neighbors/neighbor_index: has the stage run\?"):
        store.array(stage_group("net", "fc", "neighbors"), "neighbor_index")


def test_stored_array_does_not_read_on_construction(tmp_path):
    array = StoredArray(str(tmp_path / "nowhere"), "g", "n")
    with pytest.raises(DamagedError, match="cannot be read"):
        _ = array.shape


def test_the_first_damaged_place_counts_from_the_start_of_the_read(store):
    flip(chunk_file(store, 2), 5)
    places = []
    for first, last in pairwise([0, 20, 40, 60, 100]):
        try:
            store.array(GROUP, "activation")[first:last, 0:8]
        except DamagedError as error:
            places.append(error.first)
    assert places == [(20, 0), (40, 0)]
