"""Class names, macro classes and the text files they come from."""

from pathlib import Path

import pytest

from dnuc.data.classes import macro_classes, readable_names
from dnuc.data.labels import label_samples
from dnuc.data.text import read_ids, read_lines, read_table
from dnuc.errors import DataError
from dnuc.job import Data

JOBS = Path(__file__).parents[2] / "jobs"
KEYS = ["n01440764", "n02012849", "n03126707"]


def write(folder, name, text, **how):
    path = folder / name
    path.write_text(text, **{"encoding": "utf-8"} | how)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("synsets.txt", "n01440764 tench, Tinca tinca\n\nn02012849  crane\n# machines\nn03126707 crane\n"),
        ("synsets.txt", "n01440764\ttench, Tinca tinca\nn02012849\tcrane\nn03126707\tcrane"),
        ("synsets.tsv", "n01440764\ttench, Tinca tinca\r\nn02012849\tcrane\r\nn03126707\tcrane\r\n"),
        ("synsets.CSV", 'n01440764, "tench, Tinca tinca"\nn02012849,crane\nn03126707 , crane\n'),
        ("synsets.csv", '\ufeffn01440764,"tench, Tinca tinca"\nn02012849,crane\nn03126707,crane\n'),
    ],
)
def test_two_columns_in_every_form(tmp_path, name, text):
    table = read_table(write(tmp_path, name, text, newline=""), "data.class_names")
    assert table == {"n01440764": "tench, Tinca tinca", "n02012849": "crane", "n03126707": "crane"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            "n1,tench\nn2,tench, Tinca\n",
            r"data.macro = '.*a.csv', line 2: 'n2,tench, Tinca' is not two columns",
        ),
        ("a.csv", "n1 tench\n", "line 1: 'n1 tench' is not two columns"),
        ("a.csv", "n1,\n", "is not two columns"),
        ("a.tsv", "n1 tench\n", "in .tsv files a tab"),
        ("a.txt", "n1,tench\n", "is not two columns. In .csv files a comma"),
        ("a.txt", "n1, tench\n", "is not two columns"),
        ("a.txt", "n1 tench\nn2 x\nn1 eel\n", "'n1' is on line 1 and on line 3; keep one"),
        ("a.txt", "# nothing\n\n", "has no entries"),
    ],
)
def test_malformed_tables(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, name, text), "data.macro")


def test_unreadable_text(tmp_path):
    with pytest.raises(DataError, match=r"data.ids = '.*none.txt': no such file"):
        read_lines(tmp_path / "none.txt", "data.ids")
    with pytest.raises(DataError, match=r"not readable as UTF-8 text"):
        read_lines(write(tmp_path, "latin.txt", "fläche", encoding="latin-1"), "data.ids")


def test_lines_break_at_line_ends_only(tmp_path):
    assert read_lines(write(tmp_path, "x.txt", "a\u2028b\r\nc \n", newline=""), "data.labels") == ["a\u2028b", "c"]


def test_ids(tmp_path):
    assert read_ids(write(tmp_path, "ids.txt", "# drawn in 2020\nb_1\n\n a_2 \n")) == ["b_1", "a_2"]
    with pytest.raises(DataError, match=r"'b_1' is on line 1 and on line 3"):
        read_ids(write(tmp_path, "twice.txt", "b_1\na_2\nb_1\n"))
    with pytest.raises(DataError, match=r"lists no ids"):
        read_ids(write(tmp_path, "empty.txt", "# none\n"))


def test_names_may_cover_more_or_fewer_classes(tmp_path):
    path = write(tmp_path, "names.txt", "wnid name\nn01440764 tench\nn09999999 volcano\n")
    assert readable_names(KEYS, path) == {"n01440764": "tench", "n02012849": "n02012849", "n03126707": "n03126707"}
    assert readable_names(KEYS, None) == {key: key for key in KEYS}
    other = write(tmp_path, "other.txt", "0 zero\n1 one\n2 two\n3 three\n")
    message = r"names no class of the data: its first column has '0', '1', '2', ... \(4 in all\), the classes are 'n014"
    with pytest.raises(DataError, match=message):
        readable_names(KEYS, other)


NAMES = {"n01440764": "tench", "n02012849": "crane", "n03126707": "crane"}


def test_macro_classes_by_key_or_name(tmp_path):
    path = write(tmp_path, "macro.csv", "class,macro\nn03126707,artifact\ntench,animal\nn1,plant\n")
    assert macro_classes(NAMES, path) == {"n03126707": "artifact", "n01440764": "animal"}
    assert macro_classes(NAMES, None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crane,animal\n", "macro.csv': 'crane' is the name of 2 classes; write 'n02012849' or 'n03126707'"),
        ("tench,animal\nn01440764,food\n", r"class 'n01440764' \('tench'\) is both 'animal' and 'food'"),
        ("cat,animal\ndog,animal\n", "data.macro = .* names no class of the data: its first column has 'cat', 'dog'"),
    ],
)
def test_macro_files_that_cannot_be_meant(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        macro_classes(NAMES, write(tmp_path, "macro.csv", text))


def test_codes_of_classes_and_macro_classes(tmp_path):
    path = write(tmp_path, "macro.csv", "unknown,plant\nn03126707,artifact\ntench,animal\n")
    data = Data(source="digits", macro=path)
    class_of = ["n03126707", "n01440764", "n02012849", "n01440764"]
    samples = label_samples(list("abcd"), class_of, NAMES, data)
    assert samples.class_keys == ("n01440764", "n02012849", "n03126707")
    assert samples.label_names == ("tench", "crane", "crane")
    assert samples.label.tolist() == [2, 0, 1, 0]
    assert samples.macro_names == ("artifact", "animal")
    assert samples.macro.tolist() == [0, 1, -1, 1]


def test_only_what_has_samples_gets_a_code(tmp_path):
    path = write(tmp_path, "macro.csv", "n03126707,artifact\ntench,animal\n")
    samples = label_samples(["a"], ["n03126707"], NAMES, Data(source="digits", macro=path))
    assert (samples.class_keys, samples.macro_names) == (("n03126707",), ("artifact",))


def test_the_shipped_macro_file():
    imagenet = read_table(JOBS / "imagenet_macro_example.csv", "data.macro")
    assert len(imagenet) == 20
    # In the order of WordNet ids, ImageNet's animals end with the puffer (n02655020).
    assert all((macro == "animal") == (key <= "n02655020") for key, macro in imagenet.items())
