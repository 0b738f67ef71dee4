"""Reading a block of samples: in which type, ahead of the computation, and nothing without a distance."""

import threading

import dask.array as da
import numpy as np
import pytest

from dnuc.errors import DataError
from dnuc.neighbors.blocks import Blocks, panels
from dnuc.neighbors.rows import Picked, Piece, Rows, read_ahead, sample_mean, working_type
from dnuc.store import DamagedError, StoredArray


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float16", np.float32), ("float32", np.float32), ("float64", np.float64), ("longdouble", np.float64),
        ("bool", np.float32), ("int8", np.float32), ("uint16", np.float32), ("int32", np.float64),
        ("uint32", np.float64), ("int64", np.float64),
    ],
)  # fmt: skip
def test_float32_only_where_it_loses_nothing(dtype, expected):
    assert working_type(np.dtype(dtype)) is expected
    if np.dtype(dtype).kind in "iu":
        largest = np.iinfo(dtype).max
        assert dtype == "int64" or int(expected(largest)) == largest
    values = Rows(np.ones((4, 3), dtype), 0, 4).read(slice(0, 3))
    assert values.dtype == expected


def test_rows_and_features_are_cut_out():
    x = np.arange(40.0).reshape(8, 5)
    rows = Rows(x, 2, 6)
    assert (rows.count, rows.features) == (4, 5)
    for source in (x, da.from_array(x, chunks=3)):
        values = Rows(source, 2, 6).read(slice(1, 3))
        np.testing.assert_array_equal(values, x[2:6, 1:3])
        assert values.flags.c_contiguous


def test_what_has_no_distance_is_refused_by_sample():
    """Once a tile has seen it in the norms: reading does not look at every value."""
    x = np.zeros((30, 6), np.float32)
    x[3:16, 4] = np.nan
    x[20, 4], x[21, 4] = np.inf, -np.inf
    for rows in (Rows(x, 2, 25, label="net/fc"), Rows(x, 2, 25, label="net/fc").resident()):
        rows.check(rows.read(slice(0, 4)), slice(0, 4))
        with pytest.raises(DataError) as error:
            rows.check(rows.read(slice(4, 6)), slice(4, 6))
        assert "net/fc: NaN or infinite values in 15 samples (positions 3, 4, 5, 6" in str(error.value)
        assert "11, 12, ...; features 4 .. 5)" in str(error.value)


def test_what_is_missing_from_the_store_is_damage():
    """The store holds no NaN: what is not there was lost. Also if the block has been read into memory before."""
    stored = StoredArray("run", "models/net/fc/activations", "activation")
    values = np.full((5, 3), np.nan)
    for rows in (Rows(stored, 2, 7), Rows(Piece(values, 2), 2, 7, stored=stored)):
        with pytest.raises(DamagedError, match=r"at or after element \(2, 40\): values are missing: a file is lost"):
            rows.check(values, slice(40, 43))


def test_a_resident_block_is_the_same_block():
    x = np.arange(40.0).reshape(8, 5)
    resident = Rows(da.from_array(x), 2, 6, label="net/fc").resident()
    assert (resident.start, resident.stop, resident.count, resident.features) == (2, 6, 4, 5)
    assert resident.label == "net/fc"
    assert isinstance(resident.source, Piece)
    np.testing.assert_array_equal(resident.read(slice(1, 3)), x[2:6, 1:3])
    np.testing.assert_array_equal(resident.resident().read(slice(0, 5)), x[2:6])


def test_some_rows_of_a_block():
    x = np.arange(40.0).reshape(8, 5)
    picked = Picked(Rows(x, 2, 6), np.array([3, 0]))
    assert (picked.count, picked.features) == (2, 5)
    np.testing.assert_array_equal(picked.read(slice(1, 3)), x[[5, 2], 1:3])
    picked.check(np.full((2, 5), np.nan), slice(0, 5))  # the block was looked at before


def test_a_sum_that_overflows_is_not_infinity():
    assert Rows(np.full((4, 3), 1.7e308), 0, 4).read(slice(0, 3)).max() == 1.7e308


def test_a_mean_of_some_rows_is_finite_whatever_they_are():
    x = np.random.default_rng(0).standard_normal((5000, 3)) + 10
    np.testing.assert_allclose(sample_mean(x), 10, atol=0.3)
    np.testing.assert_allclose(sample_mean(x[:7]), 10, atol=2)
    x[0] = np.nan, np.inf, 1e308
    x[1] = np.nan, -np.inf, 1e308
    assert sample_mean(x).tolist() == [0, 0, 0]


def test_the_next_chunk_is_read_while_one_is_used():
    """At any time one chunk is used and one is being read, no more."""
    reading, started = [], threading.Semaphore(0)

    class Source:
        shape = (4, 50)

        def __getitem__(self, key):
            reading.append(key[1].start)
            started.release()
            return np.full((4, 10), key[1].start, np.float32)

    block = Rows(Source(), 0, 4)
    started.acquire(blocking=False)
    for position, (chunk, (values,)) in enumerate(read_ahead((block,), panels(0, 50, 10))):
        for _ in range(2 if position == 0 else int(position < 4)):
            assert started.acquire(timeout=10)
        assert reading == [0, 10, 20, 30, 40][: position + 2]
        assert chunk == slice(10 * position, 10 * position + 10)
        assert (values == chunk.start).all()


def test_reading_errors_come_out():
    class Broken:
        shape = (4, 50)

        def __getitem__(self, key):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(read_ahead((Rows(Broken(), 0, 4),), panels(0, 50, 10)))


def test_nothing_to_read():
    assert list(read_ahead((), iter(()))) == []
    assert list(panels(0, 0, 4)) == []
    assert [(p.start, p.stop) for p in panels(3, 10, 4)] == [(3, 7), (7, 10)]
    assert Blocks(10, 4).span(2) == slice(8, 10)
