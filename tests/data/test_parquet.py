"""Parquet files of images: their columns, their metadata, and what is wrong with others."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dnuc.data.parquet as parquet
from dnuc.data import open_source
from dnuc.errors import DataError, ResourceError
from dnuc.job import Data
from tests.data.packing import parquet_files

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(shade):
    content = io.BytesIO()
    Image.new("RGB", (8, 6), (shade,) * 3).save(content, "PNG")
    return content.getvalue()


def write(path, labels=(0, 1, 0, 1), paths=("a.png", "b.png", "c.png", "d.png"), names=None, **columns):
    images = [{"bytes": picture(40 * i), "path": name} for i, name in enumerate(paths)]
    table = pa.table({"image": pa.array(images, STRUCT), "label": pa.array(labels, pa.int64())} | columns)
    if names is not None:
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


def source(path, **settings):
    return open_source(Data(source="parquet", path=path, **settings))


def test_samples_come_in_the_order_of_the_rows(tmp_path):
    found = source(write(tmp_path / "x.parquet", names=["cat", "dog"])).list(0)
    assert found.id.tolist() == ["cat/a.png", "dog/b.png", "cat/c.png", "dog/d.png"]
    assert found.label.tolist() == [0, 1, 0, 1]
    assert found.class_keys == ("cat", "dog")


def test_without_metadata_labels_are_the_classes(tmp_path):
    path = write(tmp_path / "x.parquet", labels=(10, 2, 10, 2))
    assert source(path).list(0).class_keys == ("2", "10")
    (tmp_path / "names.txt").write_text("10 ten\n2 two\n")
    assert source(path, class_names=tmp_path / "names.txt").list(0).label_names == ("two", "ten")


def test_classes_named_by_the_job(tmp_path):
    path = write(tmp_path / "x.parquet", labels=(2, 1, 2, 1), names=["tench, Tinca tinca", "goldfish", "shark"])
    (tmp_path / "wnids.txt").write_text("# sorted\nn01440764\nn01443537\nn01484850\n")
    opened = source(path, labels=tmp_path / "wnids.txt")
    assert opened.list(0).class_keys == ("n01443537", "n01484850")
    assert opened.image("n01484850/c.png")[0, 0, 0] == 80
    (tmp_path / "wnids.txt").write_text("n01440764\nn01443537\n")
    with pytest.raises(DataError, match="2 classes have a name"):
        source(path, labels=tmp_path / "wnids.txt").list(0)


def test_images_without_a_path_are_named_by_their_row(tmp_path):
    path = write(tmp_path / "train-0.parquet", paths=("a.png", None, "", "/home/me/../d.png"))
    opened = source(path)
    ids = opened.list(0).id.tolist()
    assert ids == ["0/a.png", "1/train-0-0000001", "0/train-0-0000002", "1/d.png"]
    assert [int(opened.image(i)[0, 0, 0]) for i in ids] == [0, 40, 80, 120]


def test_two_classes_of_one_name_are_told_apart(tmp_path):
    assert source(write(tmp_path / "x.parquet", names=["crane", "crane"])).list(0).class_keys == ("0 crane", "1 crane")


def test_names_with_slashes_and_metadata_of_another_form(tmp_path):
    path = write(tmp_path / "x.parquet", names=["T-shirt/top", "bag"])
    (tmp_path / "ids.txt").write_text("T-shirt/top/c.png\nbag/b.png\n")
    listed = source(path, ids=tmp_path / "ids.txt").list(0)
    assert listed.label_names == ("T-shirt/top", "bag")
    assert source(path).image("T-shirt/top/c.png")[0, 0, 0] == 80
    assert source(write(tmp_path / "y.parquet", names="cat")).list(0).class_keys == ("0", "1")


def test_a_directory_a_pattern_or_a_file(tmp_path):
    for split in ("train", "validation"):
        for number in range(2):
            write(
                tmp_path / "data" / f"{split}-{number:05d}-of-00002.parquet",
                paths=[f"{split}{number}{i}" for i in "abcd"],
            )
    for path in (tmp_path / "data" / "train-*.parquet", tmp_path / "data" / "train-00001-of-00002.parquet"):
        assert all(i.split("/")[1].startswith("train") for i in source(path).list(0).id.tolist())
    assert len(source(tmp_path / "data" / "train-*.parquet").list(0)) == 8
    with pytest.raises(
        DataError, match=r"files of several splits; give one of them as a pattern: '.*/train-\*.parquet'"
    ):
        source(tmp_path / "data").list(0)
    with pytest.raises(DataError, match=r"test-\*.parquet': no .parquet file there, nor files of this pattern"):
        source(tmp_path / "data" / "test-*.parquet").list(0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"image": pa.array([b"x"] * 4)},
            r"has no column 'image' of struct<bytes: binary, path: string>; its columns are",
        ),
        ({"image": pa.array([{"path": "x"}] * 4)}, "has no column 'image' of struct"),
        ({"label": pa.array(["cat"] * 4)}, r"has no column 'label' of integers; its columns are .*label: string"),
        ({"label": pa.array([0, None, 1, 0])}, "1 rows have no label; leave them out"),
    ],
)
def test_columns_of_another_form(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        source(write(tmp_path / "x.parquet", **columns)).list(0)


def test_missing_columns(tmp_path):
    pq.write_table(pa.table({"img": [1], "label": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"no column 'image' .* its columns are img: int64, label: int64"):
        source(tmp_path / "x.parquet").list(0)
    pq.write_table(pa.table({"image": pa.array([{"bytes": b"x", "path": "x"}], STRUCT)}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="no column 'label' of integers"):
        source(tmp_path / "x.parquet").list(0)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ((0, 1, 2, 1), ["cat", "dog"], r"2 classes have a name, 0 \.\. 1, but there is a label 2"),
        ((0, -1, 0, 1), ["cat", "dog"], "there is a label -1"),
    ],
)
def test_labels_without_a_name(tmp_path, labels, names, message):
    with pytest.raises(DataError, match=message):
        source(write(tmp_path / "x.parquet", labels, names=names)).list(0)


def test_rows_with_one_id(tmp_path):
    path = write(tmp_path / "x.parquet", paths=("a.png", "b.png", "a.png", "a.png"))
    with pytest.raises(
        DataError, match=r"1 rows have the id of another one.*'0/a.png' is in rows 0 and 2 of the files"
    ):
        source(path).list(0)


def test_files_of_two_data_sets(tmp_path):
    write(tmp_path / "x-0.parquet", names=["cat", "dog"])
    write(tmp_path / "x-1.parquet", paths=list("efgh"), names=["cup", "pot"])
    with pytest.raises(DataError, match=r"x-1.parquet' names other classes than '.*x-0.parquet'"):
        source(tmp_path).list(0)


def test_files_without_rows_or_cut_short(tmp_path):
    with pytest.raises(DataError, match="has no rows"):
        source(write(tmp_path / "x.parquet", labels=(), paths=())).list(0)
    path = write(tmp_path / "y.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"y.parquet' is damaged or no Parquet file: .*; get it again"):
        source(path).list(0)


def test_a_damaged_row_group_names_the_image(tmp_path):
    path = write(tmp_path / "x.parquet")
    opened = source(path)
    ids = opened.list(0).id.tolist()
    place = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    opened = source(path)
    assert opened.image(ids[0]).shape == (6, 8, 3)
    with pytest.raises(DataError, match=r"image '0/c.png' \(row 0 of row group 1 in .*\) cannot be read: "):
        opened.image(ids[2])


def test_images_of_which_only_the_path_is_there(tmp_path):
    images = pa.array([{"bytes": None, "path": "a.png"}, None], STRUCT)
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "x.parquet")
    opened = source(tmp_path / "x.parquet")
    for sample_id in opened.list(0).id.tolist():
        with pytest.raises(DataError, match="has no bytes, only a path; write the data set with its images"):
            opened.image(sample_id)


def test_row_groups_that_are_too_large(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet")
    monkeypatch.setattr(parquet, "LARGEST_GROUP", 100)
    with pytest.raises(
        ResourceError, match=r"row group 0 of '.*x.parquet' has [\d,]+ bytes, .* with at most 1 rows a group"
    ):
        source(path).image("0/a.png")


def test_each_row_group_is_read_once_in_order(tmp_path, monkeypatch):
    """Rows in order read every group once, also by several threads; two groups are kept."""
    rng = np.random.default_rng(0)
    for key in ("a", "b"):
        (tmp_path / "images" / key).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / key / f"{i}.png")
    opened = source(parquet_files(tmp_path / "images", tmp_path / "packed"))
    read = []
    group = parquet._read_group
    monkeypatch.setattr(
        parquet, "_read_group", lambda path, number: read.append((path.name, number)) or group(path, number)
    )
    for sample_id in opened.list(0).id.tolist():
        opened.image(sample_id)
    assert len(read) == len(set(read)) == 3 + 3 + 2  # files of 7, 7 and 6 rows in groups of 3
    assert len(parquet._groups._kept) == 2
