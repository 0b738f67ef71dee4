"""Decimation and the dimension of classes: exactly what a search in every part finds, with however little searching."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from dnuc.errors import DataError, DnucError
from dnuc.measures import part_lists, parts
from dnuc.measures.classes import class_dimension
from dnuc.measures.decimation import decimation
from dnuc.measures.dimension import two_nn
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.within import pair_distances
from dnuc.store import RunStore, stage_group
from tests import reference, synthetic

N, SEED = 240, 3
X = synthetic.clustered(N, 8, spread=0.7).astype(np.float32)


def blocks_of(n, count, seed=SEED):
    """The rows of each block: cuts of one random order."""
    order = np.random.default_rng(seed).permutation(n)
    return [np.sort(order[i * n // count : (i + 1) * n // count]) for i in range(count)]


def searched(x, rows, **settings):
    """TwoNN of some rows alone, from a search of their own; None where there is none."""
    try:
        return two_nn(nearest_neighbors(x[rows], 2), **settings)
    except DnucError:
        return None


def assert_is_brute_force(found, x, groups, **settings):
    expected = [searched(x, rows, **settings) for rows in groups]
    np.testing.assert_array_equal(found.values, [np.nan if e is None else e.value for e in expected])
    used = [e for e in expected if e is not None]
    assert found.value == np.mean([e.value for e in used])
    assert found.error == (np.std([e.value for e in used], ddof=1) if len(used) > 1 else used[0].error)
    assert found.scale == np.mean([e.scale for e in used])
    assert (found.dropped, found.left_out) == (sum(e.dropped for e in used), len(expected) - len(used))


def test_blocks_against_the_plain_loops():
    x = X[:60]
    for found in decimation(x, (1, 2, 5), SEED):
        values = []
        for rows in blocks_of(60, len(found.values)):
            distance = reference.nearest_neighbors(x[rows], 2)[1]
            values.append(reference.two_nn(distance[:, 0], distance[:, 1], 0.9))
        assert found.values == pytest.approx(values, rel=1e-12)


@pytest.mark.parametrize("k", [None, 2, 6, 30], ids=lambda k: f"lists of {k}")
@pytest.mark.parametrize(
    ("rows", "pairs"), [(parts.MOST_ROWS, parts.PAIRS), (100, 0), (20, 2000), (1, parts.PAIRS), (1, 0)]
)
def test_decimation_is_brute_force_bit_for_bit(k, rows, pairs, monkeypatch):
    """However much the stored lists know, and however few rows fit into memory."""
    monkeypatch.setattr(parts, "MOST_ROWS", rows)
    monkeypatch.setattr(parts, "PAIRS", pairs)
    neighbors = None if k is None else nearest_neighbors(X, k)
    for found in decimation(X, (1, 2, 4, 8, 16), SEED, neighbors):
        assert_is_brute_force(found, X, blocks_of(N, len(found.values)))


@given(
    data=st.data(),
    n=st.integers(12, 50),
    kind=st.sampled_from([synthetic.normal, synthetic.lattice, synthetic.duplicated, synthetic.near_duplicates]),
    most=st.integers(3, 80),
    listed=st.integers(2, 40),
    pairs=st.integers(0, 300),
    seed=st.integers(0, 5),
)
@settings(max_examples=15)
def test_any_blocks_of_any_data(data, n, kind, most, listed, pairs, seed):
    """Also numbers of blocks that do not divide each other, ties and duplicates, and blocks that have no dimension."""
    x = kind(n, 4)
    counts = data.draw(st.lists(st.integers(1, n // 3), min_size=1, max_size=4))
    neighbors = nearest_neighbors(x, data.draw(st.integers(1, 10))) if data.draw(st.booleans()) else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "MOST_ROWS", most)
        patch.setattr(parts, "LISTED", listed)
        patch.setattr(parts, "LISTED_MOST", listed)
        patch.setattr(parts, "PAIRS", pairs)
        patch.setattr(part_lists, "ROWS_AT_ONCE", 7)
        for count in counts:
            if all(searched(x, rows) is None for rows in blocks_of(n, count, seed)):
                return
        results = decimation(x, counts, seed, neighbors)
    for found, count in zip(results, counts, strict=True):
        assert_is_brute_force(found, x, blocks_of(n, count, seed))


@pytest.fixture
def searches(monkeypatch):
    """The number of samples of every search, and of the pairs whose distances are computed singly (negative)."""
    noted = []

    def search(x, k, **settings):
        noted.append(len(x))
        return nearest_neighbors(x, k, **settings)

    def pairs(x, rows, cols, **settings):
        noted.append(-len(rows))
        return pair_distances(x, rows, cols, **settings)

    monkeypatch.setattr(parts, "nearest_neighbors", search)
    monkeypatch.setattr(parts, "pair_distances", pairs)
    return noted


def test_what_lists_tell_is_not_searched(searches):
    """With 100 of 240 neighbors everybody has two in his half, quarter and eighth."""
    decimation(X, (1, 2, 4, 8), SEED, nearest_neighbors(X, 100))
    assert searches == []
    decimation(X, (1, 2, 4), SEED)
    assert searches == [N]  # what it lists serves the halves and quarters


def test_what_does_not_fit_into_memory_is_listed_for_the_parts_within(searches, monkeypatch):
    monkeypatch.setattr(parts, "MOST_ROWS", 1)
    monkeypatch.setattr(parts, "PAIRS", 0)
    decimation(X, (1, 2, 4, 8, 16), SEED)
    assert searches == [N]
    searches.clear()
    class_dimension(X, LABELS)  # no part within another
    assert searches == [N // 5] * 5


def test_what_few_samples_lack_is_computed_singly_and_at_once(searches, monkeypatch):
    monkeypatch.setattr(parts, "MOST_ROWS", 1)
    neighbors = nearest_neighbors(X, 15)
    lacking = 0
    for rows in blocks_of(N, 4):
        inside = np.isin(neighbors.index[rows], rows).sum(axis=1)
        lacking += np.count_nonzero(inside < 2) * (len(rows) - 1)
    assert lacking > 0
    [found] = decimation(X, (4,), SEED, neighbors)
    assert searches == [-lacking]
    assert_is_brute_force(found, X, blocks_of(N, 4))


@pytest.mark.parametrize("method", ["fit", "mle"])
def test_settings_of_two_nn(method):
    settings = {"fraction": 0.7, "method": method}
    [found] = decimation(X, [3], SEED, **settings)
    assert_is_brute_force(found, X, blocks_of(N, 3), **settings)
    found = class_dimension(X, np.arange(N) % 5, **settings)
    assert_is_brute_force(found, X, [np.arange(N)[c::5] for c in range(5)], **settings)


def test_blocks_of_a_multiple_lie_within_each_other():
    halves, quarters = blocks_of(N + 3, 2), blocks_of(N + 3, 4)
    assert set(quarters[2]) | set(quarters[3]) == set(halves[1])
    [two] = decimation(X, (2,), SEED)
    assert (decimation(X, (1, 2), SEED)[1].values == two.values).all()
    assert (decimation(X, (2,), SEED + 1)[0].values != two.values).all()


def test_blocks_are_halved_while_they_have_fifty_samples():
    assert [len(found.values) for found in decimation(X, neighbors=nearest_neighbors(X, 30))] == [1, 2, 4]
    assert [len(found.values) for found in decimation(X[:40])] == [1]


def test_all_samples_are_two_nn():
    near = nearest_neighbors(X, 5)
    [found], expected = decimation(None_of_it(), (1,), neighbors=near), two_nn(near)
    assert (found.value, found.error, found.scale) == (expected.value, expected.error, expected.scale)


class None_of_it:  # noqa: N801
    """An array that may not be read."""

    shape, dtype, ndim, chunks = X.shape, X.dtype, 2, (64, 8)


class Metered:
    """An array on disk that notes how much of it is read at once."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim, self.chunks = values, values.shape, values.dtype, 2, (16, 100)
        self.most, self.total = 0, 0

    def __getitem__(self, key):
        part = self.values[key]
        self.most, self.total = max(self.most, part.size), self.total + part.size
        return part


def test_rows_are_read_once_where_they_fit_and_never_all_at_once(monkeypatch):
    """Four blocks fit into memory, one at a time, and the smaller blocks in them are searched there."""
    monkeypatch.setattr(parts, "MOST_ROWS", 128)
    x = Metered(synthetic.normal(512, 20))
    decimation(x, (4, 8, 16, 32, 64))
    assert x.most <= 16 * 20  # one row of chunks
    assert x.total <= 4 * x.values.size  # the four blocks lie among all samples


# --- classes ------------------------------------------------------------------------------------------------------


LABELS = np.arange(N) % 5


@pytest.mark.parametrize("k", [None, 4, 60])
@pytest.mark.parametrize("rows", [parts.MOST_ROWS, 100, 20])
def test_classes_are_brute_force_bit_for_bit(k, rows, monkeypatch):
    monkeypatch.setattr(parts, "MOST_ROWS", rows)
    neighbors = None if k is None else nearest_neighbors(X, k)
    found = class_dimension(X, LABELS, neighbors)
    assert_is_brute_force(found, X, [np.flatnonzero(c == LABELS) for c in range(5)])


def test_small_and_degenerate_classes_are_left_out_and_counted():
    labels = LABELS.copy()
    labels[labels == 3] = -1
    labels[:2] = 3  # two samples
    x = X.copy()
    x[labels == 1] = 7  # all equal
    labels[labels == 4] = 6  # no 4 and no 5
    found = class_dimension(x, labels)
    assert np.isnan(found.values).tolist() == [False, True, False, True, True, True, False]
    assert found.left_out == 4
    assert_is_brute_force(found, x, [np.flatnonzero(labels == c) for c in range(7)])
    assert repr(found).startswith("MeanDimension(value=")
    assert "parts=7, left_out=4" in repr(found)


def test_one_class_is_two_nn():
    found, expected = class_dimension(X, np.zeros(N, bool)), two_nn(nearest_neighbors(X, 2))
    assert (found.value, found.error, found.left_out) == (expected.value, expected.error, 0)


# --- kinds of arrays ----------------------------------------------------------------------------------------------


def stored_array(path):
    store, group = RunStore.create(path), stage_group("net", "fc", "activations")
    store.begin(group, "d")
    store.declare(group, "activation", X.shape, (32, 3))
    store.write(group, "activation", (slice(None), slice(None)), X)
    store.finish(group)
    return store.array(group, "activation")


@pytest.mark.parametrize("kind", ["memmap", "zarr", "dask", "stored", "list"])
@pytest.mark.parametrize("rows", [parts.MOST_ROWS, 50])
def test_any_kind_of_array(tmp_path, kind, rows, monkeypatch):
    import dask.array as da

    monkeypatch.setattr(parts, "MOST_ROWS", rows)
    np.save(tmp_path / "x.npy", X)
    x = {
        "memmap": lambda: np.load(tmp_path / "x.npy", mmap_mode="r"),
        "zarr": lambda: zarr.array(X, chunks=(32, 3)),
        "dask": lambda: da.from_array(X, chunks=(32, 3)),
        "stored": lambda: stored_array(tmp_path / "run"),
        "list": lambda: X.tolist(),
    }[kind]()
    for found, expected in zip(decimation(x, (1, 2, 4), SEED), decimation(X, (1, 2, 4), SEED), strict=True):
        np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(class_dimension(x, LABELS).values, class_dimension(X, LABELS).values)


@pytest.mark.cluster
@pytest.mark.parametrize("rows", [parts.MOST_ROWS, 50])
def test_on_workers(client, tmp_path, rows, monkeypatch):
    monkeypatch.setattr(parts, "MOST_ROWS", rows)
    expected = decimation(X, (1, 2, 4, 8), SEED)
    for x in (X, stored_array(tmp_path)):
        for found, other in zip(decimation(x, (1, 2, 4, 8), SEED, client=client), expected, strict=True):
            np.testing.assert_array_equal(found.values, other.values)
            assert (found.value, found.error, found.scale) == (other.value, other.error, other.scale)


# --- refusals -----------------------------------------------------------------------------------------------------


def with_nan():
    x = X.copy()
    x[17, 2] = np.nan
    return x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: decimation(X, (1, 81)), DnucError, r"81 blocks of 240 samples; .* at least 3 samples: 1 \.\. 80"),
        (lambda: decimation(X, (0,)), DnucError, "there must be at least 1"),
        (lambda: decimation(X, (2,), neighbors=nearest_neighbors(X[1:], 4)), DnucError, "of 239 samples, x has 240"),
        (lambda: decimation(X, (2,), fraction=2), DnucError, "fraction = 2"),
        (lambda: decimation(X, (2,), method="ml"), DnucError, "'fit' or 'mle'"),  # type: ignore[arg-type]
        (
            lambda: decimation(np.ones((50, 3)), (1, 2)),
            DnucError,
            "decimation into 1 blocks: none of 1 has a dimension",
        ),
        (lambda: decimation(X[:2], (1,)), DnucError, "k = 2 neighbors asked for among N = 2 samples"),
        (lambda: decimation(with_nan(), (2,)), DataError, r"NaN or infinite values in 1 samples \(positions 17"),
        (lambda: decimation(X.astype(str), (2,)), DnucError, "must be real numbers"),
        (lambda: class_dimension(X, LABELS[1:]), DnucError, r"labels have shape \(239,\)"),
        (lambda: class_dimension(X, LABELS.astype(float)), DnucError, "type float64"),
        (lambda: class_dimension(X, LABELS - 9), DnucError, "no sample has a class"),
        (lambda: class_dimension(X, np.arange(N)), DnucError, "dimension of the classes: none of 240 has a dimension"),
        (lambda: class_dimension(X, LABELS, Neighbors(np.zeros((3, 2), int), np.ones((3, 2)))), DnucError, "of 3 samp"),
    ],
)
def test_what_has_no_answer_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bad_values_are_told_by_their_place_among_all_samples(monkeypatch):
    monkeypatch.setattr(parts, "MOST_ROWS", 10)  # too few for a window: a search of its own
    for x in (with_nan(), zarr.array(with_nan(), chunks=(32, 8))):
        with pytest.raises(DataError, match=r"in 1 samples \(positions 17"):
            decimation(x, (2,), SEED)
