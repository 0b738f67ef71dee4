"""Drawing classes and samples by seed."""

import numpy as np
import pytest

from dnuc.data.drawing import draw_classes, draw_ids
from dnuc.errors import DataError

NAMES = {f"n{i:02d}": f"thing {i}" for i in range(20)} | {"n20": "crane", "n21": "crane"}
IDS = {key: [f"{key}/{i:03d}" for i in range(40)] for key in NAMES}


def test_one_seed_one_draw():
    assert draw_classes(NAMES, 5, seed=1) == draw_classes(NAMES, 5, seed=1)
    assert draw_classes(NAMES, 5, seed=1) != draw_classes(NAMES, 5, seed=2)
    assert draw_ids(IDS, 7, seed=1) == draw_ids(IDS, 7, seed=1)
    assert draw_ids(IDS, 7, seed=1) != draw_ids(IDS, 7, seed=2)


def test_draws_are_sorted_and_grow():
    few, many = draw_classes(NAMES, 5, seed=3), draw_classes(NAMES, 12, seed=3)
    assert len(few) == 5
    assert few == sorted(few)
    assert set(few) < set(many)
    small, large = draw_ids(IDS, 7, seed=3), draw_ids(IDS, 20, seed=3)
    for key in NAMES:
        assert len(set(small[key])) == 7
        assert small[key] == sorted(small[key])
        assert set(small[key]) < set(large[key])


def test_a_class_draws_the_same_whatever_others_are_drawn():
    assert draw_ids({"n04": IDS["n04"]}, 7, seed=3)["n04"] == draw_ids(IDS, 7, seed=3)["n04"]


def test_classes_draw_independently():
    positions = {tuple(name.split("/")[1] for name in drawn) for drawn in draw_ids(IDS, 7, seed=3).values()}
    assert len(positions) == len(NAMES)


def test_every_sample_is_equally_likely():
    counts = np.zeros(40)
    for seed in range(400):
        for name in draw_ids({"n00": IDS["n00"]}, 10, seed)["n00"]:
            counts[int(name.split("/")[1])] += 1
    # 100 expected, standard deviation 8.7: five of them.
    assert np.all(abs(counts - 100) < 44)


def test_all_and_named_classes():
    assert draw_classes(NAMES, None, seed=0) == list(NAMES)
    assert draw_classes(NAMES, ("thing 7", "n02"), seed=0) == ["n02", "n07"]
    assert draw_ids(IDS, None, seed=0) == IDS


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (23, r"data.classes = 23, but the data has 22 classes: give 2 \.\. 22"),
        (("n2O",), "data.classes: no class is called 'n2O'; closest: 'n2"),
        (("thing 77",), "closest: 'thing 7', 'thing"),
        (("crane",), "data.classes: 'crane' is the name of 2 classes; write 'n20' or 'n21' instead"),
        (("n07", "thing 7"), "each once"),
        ((), "at least one class"),
    ],
)
def test_classes_that_cannot_be_had(wanted, message):
    with pytest.raises(DataError, match=message):
        draw_classes(NAMES, wanted, seed=0)


def test_too_few_samples_in_a_class():
    few = IDS | {"n03": IDS["n03"][:2], "n05": IDS["n05"][:6]}
    message = (
        "= 7 needs 7 of each class, but 2 of the 22 classes of 'there' have fewer: 'n03' has 2, 'n05' has 6; .* has 2"
    )
    with pytest.raises(DataError, match=message):
        draw_ids(few, 7, seed=0, where="'there'")
