"""Labels and ids of representations that something else computed."""

import numpy as np
import pytest

from dnuc.data import open_source
from dnuc.errors import DataError
from dnuc.job import Data


def listed(**settings):
    return open_source(Data(source="arrays", **settings)).list(seed=0)


def save(folder, labels, name="labels.npy"):
    np.save(folder / name, labels)
    return folder / name


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int32])
def test_integers_keep_their_order_and_value(tmp_path, dtype):
    samples = listed(labels=save(tmp_path, np.array([10, 2, 9, 2], dtype=dtype)))
    assert samples.label_names == ("2", "9", "10")
    assert samples.label.tolist() == [2, 0, 1, 0]
    assert samples.id.tolist() == ["row-000000", "row-000001", "row-000002", "row-000003"]


def test_names_from_npy_and_text_agree(tmp_path):
    names = ["kinase", "globin", "kinase", "Fab"]
    text = tmp_path / "labels.txt"
    text.write_text("\n".join(names) + "\n")
    for path in (save(tmp_path, np.array(names)), text):
        samples = listed(labels=path)
        assert samples.label_names == ("Fab", "globin", "kinase")
        assert samples.label.tolist() == [2, 1, 2, 0]
    text.write_text("10\n2\n9\n2\n")
    assert listed(labels=text).label_names == ("2", "9", "10")


def test_ids_names_and_macro_classes(tmp_path):
    (tmp_path / "ids.txt").write_text("P1\nP3\nP2\n")
    (tmp_path / "names.csv").write_text("0,kinase\n1,globin\n")
    (tmp_path / "macro.csv").write_text("kinase,enzyme\n")
    samples = listed(
        labels=save(tmp_path, np.array([1, 0, 1])),
        ids=tmp_path / "ids.txt",
        class_names=tmp_path / "names.csv",
        macro=tmp_path / "macro.csv",
    )
    assert samples.id.tolist() == ["P1", "P3", "P2"]
    assert samples.label_names == ("kinase", "globin")
    assert (samples.macro_names, samples.macro.tolist()) == (("enzyme",), [-1, 0, -1])


def test_ids_of_another_length(tmp_path):
    (tmp_path / "ids.txt").write_text("P1\nP3\n")
    with pytest.raises(DataError, match=r"lists 2 ids and data.labels = .* 3 labels; both need one for each row"):
        listed(labels=save(tmp_path, np.array([1, 0, 1])), ids=tmp_path / "ids.txt")


def test_labels_are_needed():
    with pytest.raises(DataError, match=r"data.source = 'arrays' needs data.labels"):
        listed()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[1, 2]]), r"has shape \(1, 2\) and dtype int64; it must be \(N,\) integers or strings"),
        (np.array([1.0, 2.0]), r"dtype float64; .* e.g. labels.astype\(int\)"),
        (np.array([], dtype=int), "has no labels"),
        (np.array(["a", "", "b"]), "label 2 of 3 is empty"),
    ],
)
def test_arrays_of_another_form(tmp_path, labels, message):
    with pytest.raises(DataError, match=message):
        listed(labels=save(tmp_path, labels))


def test_files_that_are_not_what_they_seem(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([1, "a"], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("1\n2\n")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("pickled", "text", "empty"):
        with pytest.raises(DataError, match=rf"{name}.npy' is not a .npy file of integers or strings"):
            listed(labels=tmp_path / f"{name}.npy")
    for name in ("none.npy", "none.txt"):
        with pytest.raises(DataError, match=rf"data.labels = '.*{name}': no such file"):
            listed(labels=tmp_path / name)
    (tmp_path / "gap.txt").write_text("a\n\nb\n")
    with pytest.raises(DataError, match=r"label 2 of 3 is empty"):
        listed(labels=tmp_path / "gap.txt")


def test_no_images(tmp_path):
    source = open_source(Data(source="arrays", labels=save(tmp_path, np.array([1, 0]))))
    assert not source.has_images
    with pytest.raises(DataError, match=r"has no images, so none for 'row-000000'"):
        source.image("row-000000")
    with pytest.raises(DataError, match=r"no images to train a network on"):
        source.split(source.list(seed=0), seed=0)
