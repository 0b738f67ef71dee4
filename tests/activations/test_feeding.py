"""Reading ahead: in order, never too far, and what goes wrong is told where it belongs."""

import threading
from contextlib import closing

import numpy as np
import pytest
import torch

from dnuc.activations import extract, select_layers
from dnuc.activations.feeding import BATCHES_AHEAD, batches_ahead, read_ahead
from dnuc.errors import DataError
from tests.activations.test_extract import built, images


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ahead", [1, 2, 50])
def test_results_come_in_order_and_not_too_early(threads, ahead):
    started, taken = [], []

    def load(item):
        started.append(item)
        assert item < len(taken) + ahead + 1  # the one that the caller takes next, and those ahead of it
        return -item

    for result in read_ahead(load, range(20), ahead, threads):
        taken.append(result)
    assert taken == [-i for i in range(20)]
    assert sorted(started) == list(range(20))


def test_the_next_is_loaded_while_the_caller_works():
    loaded = [threading.Event() for _ in range(3)]

    def load(item):
        loaded[item].set()
        return item

    with closing(read_ahead(load, range(3), ahead=2, threads=1)) as results:
        assert next(results) == 0
        assert loaded[1].wait(timeout=60)
        assert not loaded[2].is_set()
        assert list(results) == [1, 2]


def test_an_error_comes_in_the_place_of_its_result():
    def load(item):
        if item == 2:
            raise DataError("image 2 cannot be read")
        return item

    results = read_ahead(load, range(5), ahead=4, threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DataError, match="image 2 cannot be read"):
        next(results)
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]


def test_a_caller_that_stops_leaves_no_thread():
    with closing(read_ahead(lambda item: item, range(100), ahead=8, threads=2)) as results:
        assert next(results) == 0
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]
    assert list(read_ahead(lambda item: item, [], ahead=2, threads=1)) == []


@pytest.mark.parametrize(("n", "batch", "threads"), [(10, 4, 1), (8, 4, 3), (3, 64, 2), (1, 1, 1), (33, 32, 5)])
def test_batches_hold_the_images_in_order(n, batch, threads):
    prepared = []

    def prepare(sample_id):
        prepared.append(sample_id)
        return torch.full((1, 2, 2), float(sample_id))

    found = list(batches_ahead(prepare, [str(i) for i in range(n)], batch, threads))
    assert [len(b) for b in found] == [batch] * (n // batch) + ([n % batch] if n % batch else [])
    assert torch.cat(found)[:, 0, 0, 0].tolist() == list(range(n))
    assert len(prepared) == n


@pytest.mark.parametrize("threads", [1, 4])
def test_a_few_batches_are_in_memory_and_never_more(threads):
    """What was prepared and not yet taken: the batches ahead, and what the threads are at."""
    prepared, batch = [], 16

    def prepare(sample_id):
        prepared.append(sample_id)
        return torch.zeros(1)

    for number, _ in enumerate(batches_ahead(prepare, list(map(str, range(160))), batch, threads)):
        assert len(prepared) <= (number + 1 + BATCHES_AHEAD) * batch


def test_batches_give_the_bits_of_all_images_at_once():
    resnet = built("resnet18")
    layers = select_layers(resnet, ("input", "checkpoints", "output"))
    x = images(21, 3, 32, 32)
    whole = extract(resnet, layers, x, batch_size=8)
    for threads in (1, 3):
        batches = batches_ahead(lambda i: x[int(i)], [str(i) for i in range(21)], 8, threads)
        found = extract(resnet, layers, batches, batch_size=8, count=21)
        for name in whole:
            np.testing.assert_array_equal(found[name], whole[name])


@pytest.mark.parametrize(
    ("sizes", "count", "message"),
    [
        ([8, 5], 21, r"images of shape \(5, 3, 32, 32\): needs .* = \(8, 3, 32, 32\)"),
        ([8, 8], 21, "no images: needs"),
        ([8], None, "None images to extract: needs at least 1, and their number where batches are given"),
        ([], 0, "0 images to extract"),
    ],
)
def test_batches_of_another_number(sizes, count, message):
    resnet = built("resnet18")
    layers = select_layers(resnet, ("output",))
    with pytest.raises(DataError, match=message):
        extract(resnet, layers, [images(n, 3, 32, 32) for n in sizes], batch_size=8, count=count)
