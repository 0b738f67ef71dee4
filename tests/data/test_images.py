"""Image folders, generated here as small JPEG and PNG trees."""

import os
import pickle

import numpy as np
import pytest
from PIL import Image

import dnuc.data.images
from dnuc.data import open_source
from dnuc.data.images import path_of
from dnuc.errors import DataError
from dnuc.job import Data

COUNTS = {"n01440764": 6, "n01443537": 5, "n02012849": 4, "n03126707": 6}


@pytest.fixture
def tree(tmp_path):
    """Four classes of gray JPEGs; the shade tells which image it is."""
    root = tmp_path / "train"
    for c, (key, count) in enumerate(COUNTS.items()):
        (root / key).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 6), (60 * c + 10 * i,) * 3).save(root / key / f"{key}_{i}.JPEG", quality=95)
    (root / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n")
    return root


def folder(root, **settings):
    return open_source(Data(source="image_folder", path=root, **settings))


def write_ids(tmp_path, *lines):
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_everything_by_class_then_id(tree):
    samples = folder(tree).list(seed=0)
    assert samples.class_keys == samples.label_names == tuple(COUNTS)
    assert np.bincount(samples.label).tolist() == list(COUNTS.values())
    assert samples.id.tolist() == sorted(samples.id.tolist())
    assert samples.id[0] == "n01440764/n01440764_0.JPEG"


def test_images_are_found_by_id(tree):
    source = pickle.loads(pickle.dumps(folder(tree)))
    for c, key in enumerate(COUNTS):
        image = source.image(f"{key}/{key}_2.JPEG")
        assert image.shape == (6, 8, 3)
        assert image.dtype == np.uint8
        assert image.flags.writeable
        assert np.all(abs(image.astype(int) - (60 * c + 20)) <= 2)


def test_one_seed_one_draw(tree):
    draws = [folder(tree, classes=3, images_per_class=2).list(seed).id.tolist() for seed in (0, 0, 1)]
    assert len(draws[0]) == 6
    assert draws[0] == draws[1] != draws[2]


def test_the_order_of_the_file_system_does_not_matter(tree, monkeypatch):
    expected = folder(tree, classes=3, images_per_class=3).list(seed=2)

    scandir = os.scandir

    class Shuffled:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name[::-1], reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    assert [e.name for e in Shuffled(tree).entries] != sorted(os.listdir(tree))
    monkeypatch.setattr(dnuc.data.images.os, "scandir", Shuffled)
    assert folder(tree, classes=3, images_per_class=3).list(seed=2).id.tolist() == expected.id.tolist()


def test_names_and_macro_classes(tree, tmp_path):
    (tmp_path / "macro.csv").write_text('n03126707,artifact\n"tench, Tinca tinca",animal\n')
    settings = {"class_names": tree / "LOC_synset_mapping.txt", "macro": tmp_path / "macro.csv"}
    samples = folder(tree, **settings).list(seed=0)
    assert samples.class_keys == tuple(COUNTS)
    assert samples.label_names == ("tench, Tinca tinca", "n01443537", "crane", "crane")
    assert samples.macro_names == ("artifact", "animal")
    assert [samples.macro[samples.label == c][0] for c in range(4)] == [1, -1, -1, 0]
    named = folder(tree, classes=("n03126707", "tench, Tinca tinca"), **settings).list(seed=0)
    assert named.class_keys == ("n01440764", "n03126707")


def test_ids_in_every_form_keep_the_files_order(tree, tmp_path):
    ids = write_ids(
        tmp_path,
        "# as the authors list them",
        "n03126707_1",
        "n01440764/n01440764_4",
        "n01440764/n01440764_2.JPEG",
        "n03126707_0.JPEG",
    )
    samples = folder(tree, ids=ids).list(seed=0)
    assert samples.id.tolist() == [
        "n03126707/n03126707_1.JPEG",
        "n01440764/n01440764_4.JPEG",
        "n01440764/n01440764_2.JPEG",
        "n03126707/n03126707_0.JPEG",
    ]
    assert samples.class_keys == ("n01440764", "n03126707")
    assert samples.label.tolist() == [1, 0, 0, 1]
    again = folder(tree, ids=write_ids(tmp_path, *samples.id)).list(seed=9)
    assert again.id.tolist() == samples.id.tolist()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["n01440764_0", *(f"n01440764_{i}" for i in range(90, 97)), "n9_1"],
            "lists 9 samples; '.*train' does not have 8 of them: 'n01440764_90', .* 'n01440764_94', ...; correct",
        ),
        (["goldfish"], "'goldfish' does not say its class; write CLASS/FILE, or CLASS_NUMBER"),
        (["../n01440764/n01440764_0"], "'../n01440764/n01440764_0' is not of the form CLASS/FILE"),
        (["../secret"], "'../secret' is not of the form CLASS/FILE"),
        (["/etc/passwd"], "'/etc/passwd' is not of the form"),
        (["n01440764_0", "n01440764/n01440764_0"], "sample id 'n01440764/n01440764_0.JPEG' appears twice"),
    ],
)
def test_ids_that_cannot_be_had(tree, tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        folder(tree, ids=write_ids(tmp_path, *lines)).list(seed=0)


def test_an_id_without_ending_that_means_two_files(tree, tmp_path):
    Image.new("L", (4, 4)).save(tree / "n01440764" / "n01440764_0.png")
    with pytest.raises(DataError, match=r"'n01440764_0' may be '.*_0.JPEG' or '.*_0.png'; write which"):
        folder(tree, ids=write_ids(tmp_path, "n01440764_0")).list(seed=0)
    assert len(folder(tree, ids=write_ids(tmp_path, "n01440764_0.png", "n01440764_0.JPEG")).list(seed=0)) == 2


@pytest.mark.parametrize(
    "sample_id", ["../x.JPEG", "/etc/passwd", "n01440764", "a/b/c.JPEG", "n01440764/..", "", "a/b\0"]
)
def test_an_id_names_a_file_in_a_class_directory(tree, sample_id):
    with pytest.raises(DataError, match=r"is not of the form CLASS/FILE"):
        folder(tree).image(sample_id)


def test_links_must_stay_inside(tree, tmp_path):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    Image.new("L", (4, 4)).save(outside / "x_1.png")
    inside = tree / "n01440764" / "n01440764_again.JPEG"
    inside.symlink_to(tree / "n01443537" / "n01443537_0.JPEG")
    assert len(folder(tree).list(seed=0)) == sum(COUNTS.values()) + 1
    link = tree / "n01440764" / "link.png"
    link.symlink_to(outside / "x_1.png")
    for refused in (lambda: folder(tree).list(seed=0), lambda: path_of(tree, "n01440764/link.png")):
        with pytest.raises(
            DataError, match=r"'n01440764/link.png' leads out of data.path = .*elsewhere/x_1.png'; copy"
        ):
            refused()
    link.unlink()
    (tree / "x").symlink_to(outside)
    with pytest.raises(DataError, match=r"'x' leads out of data.path"):
        folder(tree).list(seed=0)


def test_too_few_images(tree):
    message = r"2 of the 4 classes of '.*train' have fewer: 'n01443537' has 5, 'n02012849' has 4"
    with pytest.raises(DataError, match=message):
        folder(tree, images_per_class=6).list(seed=0)


def test_unknown_classes(tree):
    with pytest.raises(DataError, match=r"no class is called 'n01443573'; closest: 'n01443537'"):
        folder(tree, classes=("n01443573",)).list(seed=0)


def test_folders_that_are_none(tree, tmp_path):
    with pytest.raises(DataError, match=r"needs data.path"):
        folder(None).list(seed=0)
    with pytest.raises(DataError, match=r"nowhere': no such directory; it must hold one directory a class"):
        folder(tmp_path / "nowhere").list(seed=0)
    with pytest.raises(DataError, match=r"holds no directories"):
        folder(tree / "n01440764").list(seed=0)
    (tree / "notes").mkdir()
    (tree / "notes" / "readme.txt").write_text("no image")
    with pytest.raises(DataError, match=r"notes' holds no image \(.jpeg, .jpg, .png\); remove or fill it"):
        folder(tree).list(seed=0)


def test_hidden_files_are_no_images(tree):
    (tree / ".cache").mkdir()
    (tree / "n01440764" / "._n01440764_0.JPEG").write_bytes(b"resource fork")
    assert len(folder(tree).list(seed=0)) == sum(COUNTS.values())


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 90, (90, 90, 90)),
        ("RGBA", (200, 100, 50, 128), (200, 100, 50)),
        ("P", 3, None),
        ("1", 1, (255, 255, 255)),
        ("LA", (40, 0), (40, 40, 40)),
    ],
)
def test_every_mode_becomes_rgb(tree, mode, color, expected):
    picture = Image.new(mode, (5, 3), color)
    if mode == "P":
        picture.putpalette([9, 9, 9] * 3 + [7, 8, 9])
        expected = (7, 8, 9)
    picture.save(tree / "n01440764" / "x.PNG")
    assert folder(tree).image("n01440764/x.PNG").tolist() == [[list(expected)] * 5] * 3


def test_cmyk_jpeg_becomes_rgb(tree):
    Image.new("CMYK", (5, 3), (0, 0, 0, 0)).save(tree / "n01440764" / "x.jpg")
    assert folder(tree).image("n01440764/x.jpg").shape == (3, 5, 3)


def test_sixteen_bits_are_refused(tree):
    Image.fromarray(np.full((3, 5), 1000, dtype=np.uint16)).save(tree / "n01440764" / "x.png")
    with pytest.raises(DataError, match=r"'n01440764/x.png' .* more than 8 bits a channel"):
        folder(tree).image("n01440764/x.png")


def damaged(content, how):
    return {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "text": b"not an image",
        "header only": content[:30],
    }[how]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("how", ["truncated", "empty", "text", "header only"])
def test_unreadable_images_name_id_file_and_way_out(tree, suffix, how):
    path = tree / "n01440764" / f"x.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(damaged(path.read_bytes(), how))
    message = rf"image 'n01440764/x.{suffix}' \('.*x.{suffix}'\) cannot be read: .* data.max_unreadable"
    with pytest.raises(DataError, match=message):
        folder(tree).image(f"n01440764/x.{suffix}")


def test_missing_image(tree):
    with pytest.raises(DataError, match=r"image 'n01440764/none.JPEG' .* cannot be read: .*No such file"):
        folder(tree).image("n01440764/none.JPEG")


def test_training_is_not_offered(tree):
    source = folder(tree)
    with pytest.raises(DataError, match=r"training on an image folder is not offered; remove .model.train. and give"):
        source.split(source.list(seed=0), seed=0)
