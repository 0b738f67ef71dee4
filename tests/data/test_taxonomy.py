"""The taxonomy of a job: from WordNet or a file, with macro classes at any height, kept in the store."""

from pathlib import Path

import numpy as np
import pytest

from dnuc.data import open_source
from dnuc.data.fashion import CLASSES
from dnuc.data.labels import label_samples
from dnuc.data.stage import manifest_digests, run_samples, samples_digest, stored_samples
from dnuc.data.taxonomy import class_names, class_taxonomy, file_taxonomy, macro_of_taxonomy
from dnuc.errors import DataError
from dnuc.job import Data, read_job
from dnuc.store import RunStore
from dnuc.taxonomy import Taxonomy
from tests.conftest import digits_job, folder_job, quiet_cluster
from tests.data.wordnet_files import write_wordnet

JOBS = Path(__file__).parents[2] / "jobs"
NAMES = {"n1": "tench", "n2": "crane", "n3": "crane", "n4": "cup"}
TABLE = "class,above\ntench,fish\nn2,bird\nfish,animal\nbird,animal\nn3,machine\nn4,dishes\n"


def write(folder, text, name="tree.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def macro(tmp_path, text=TABLE, names=NAMES, **settings):
    data = Data(source="digits", taxonomy=write(tmp_path, text), **settings)
    taxonomy = class_taxonomy(names, data)
    return taxonomy, *macro_of_taxonomy(taxonomy, data)


def test_a_file_of_two_columns(tmp_path):
    tree = file_taxonomy(write(tmp_path, TABLE), NAMES)
    assert [[tree.name[node] for node in tree.path(c)] for c in range(4)] == [
        ["all", "animal", "fish", "tench"],
        ["all", "animal", "bird", "crane"],
        ["all", "machine", "crane"],
        ["all", "dishes", "cup"],
    ]
    assert [tree.key[node] for node in tree.leaf] == list(NAMES)


def test_a_class_may_be_a_kind_of_another_one(tmp_path):
    tree = file_taxonomy(
        write(tmp_path, "poodle,dog\ndog,animal\ncat,animal\n"), {k: k for k in ("poodle", "dog", "cat")}
    )
    assert tree.distances().tolist() == [[0, 1, 3], [1, 0, 2], [3, 2, 0]]
    assert [[tree.key[n] for n in tree.level(d)] for d in tree.levels] == [
        ["dog", "dog", "cat"],
        ["poodle", "dog", "cat"],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tench,fish\n",
            r"data.taxonomy = '.*tree.csv': 3 of the 4 classes have no entry: 'crane', 'crane', 'cup'; give",
        ),
        (TABLE + "crane,bird\n", "'crane' is the name of 2 classes; write 'n2' or 'n3' instead"),
        (TABLE + "n1,animal\n", "'n1' is below 'fish' and below 'animal'; keep one"),
        (TABLE + "animal,fish\n", "leads back to its start: fish < animal < fish"),
        (TABLE + "dishes\n", "line 8: 'dishes' is not two columns"),
        (TABLE + "machine,all\n", "'all', which would join them"),
        ("", "has no entries"),
    ],
)
def test_files_that_are_no_tree(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        file_taxonomy(write(tmp_path, text), NAMES)


def test_macro_classes_at_any_height(tmp_path):
    _, code, names = macro(tmp_path, macro_roots=("animal", "machine"))
    assert (code.tolist(), names) == ([0, 0, 1, -1], ("animal", "machine"))
    _, code, names = macro(tmp_path, macro_roots=("animal", "bird"))
    assert (code.tolist(), names) == ([0, 1, -1, -1], ("animal", "bird"))
    _, code, names = macro(tmp_path, macro_depth=1)
    assert (code.tolist(), names) == ([0, 0, 1, 2], ("animal", "machine", "dishes"))
    _, code, names = macro(tmp_path, macro_depth=2)
    assert (code.tolist(), names) == ([0, 1, 2, 3], ("fish", "bird", "crane", "cup"))
    _, code, names = macro(tmp_path, macro_depth=3)
    assert (code.tolist(), names) == ([0, 1, 2, 3], ("tench", "crane (n2)", "crane (n3)", "cup"))
    _, code, names = macro(tmp_path)
    assert (code.tolist(), names) == ([-1] * 4, ())


def test_only_roots_with_classes_are_macro_classes(tmp_path):
    _, code, names = macro(tmp_path, names={"n4": "cup", "n1": "tench"}, macro_roots=("machine", "animal", "fish"))
    assert (code.tolist(), names) == ([-1, 0], ("fish",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"macro_roots": ("animals",)}, "nothing in '.*tree.csv' is called 'animals'; closest: 'animal'"),
        ({"macro_depth": 4}, r"no depth 4; the classes lie 0 \.\. 3 deep"),
        ({"macro_roots": ("animal",), "macro_depth": 1}, "data.macro, data.macro_roots and data.macro_depth all say"),
        ({"macro_roots": ("animal",), "macro": "x.csv"}, "all say which macro classes there are; keep one"),
    ],
)
def test_macro_classes_that_cannot_be_meant(tmp_path, settings, message):
    with pytest.raises(DataError, match=message):
        macro(tmp_path, **settings)


def test_macro_classes_above_nothing(tmp_path):
    with pytest.raises(DataError, match="no class is a kind of any of them"):
        macro(tmp_path, names={"n4": "cup"}, macro_roots=("animal",))
    for settings in ({"macro_roots": ("animal",)}, {"macro_depth": 2}):
        with pytest.raises(DataError, match=r'set data.taxonomy, to "wordnet" or a file'):
            class_taxonomy(NAMES, Data(source="digits", **settings))


def test_classes_in_wordnet_by_key_or_name(tmp_path):
    offset = write_wordnet(tmp_path / "wordnet")
    tench = f"n{offset['tench']:08d}"
    data = Data(source="digits", taxonomy=tmp_path / "wordnet", macro_roots=("animal.n.01", "artifact"))
    assert class_names([tench, "dog", "0"], data) == {tench: "tench", "dog": "dog", "0": "0"}
    tree = class_taxonomy({tench: "any name", "dog": "dog", "0": "crane.n.02"}, data)
    assert [tree.name[node] for node in tree.leaf] == ["tench", "dog", "crane"]
    code, names = macro_of_taxonomy(tree, data)
    assert (code.tolist(), names) == ([0, 0, 1], ("animal", "artifact"))
    with pytest.raises(
        DataError, match=r"class 'crane': .* 2 meanings; write which: crane.n.01 .*class_names may give"
    ):
        class_taxonomy({"crane": "crane"}, data)
    with pytest.raises(DataError, match=r"class 'unicorn': .*'unicorn' has 0 meanings"):
        class_taxonomy({"0": "unicorn"}, data)


def test_names_of_a_file_come_before_those_of_wordnet(tmp_path):
    offset = write_wordnet(tmp_path / "wordnet")
    tench = f"n{offset['tench']:08d}"
    names = write(tmp_path, f"{tench} Schleie\n", "names.txt")
    assert class_names([tench], Data(source="digits", taxonomy=tmp_path / "wordnet", class_names=names)) == {
        tench: "Schleie"
    }


def test_samples_of_a_job_with_wordnet_are_stored_with_it(tmp_path):
    write_wordnet(tmp_path / "wordnet")
    names = write(tmp_path, "cat goldfish\n", "names.txt")
    settings = {"taxonomy": "wordnet", "class_names": str(names), "macro_roots": ["vertebrate"]}
    job = folder_job(tmp_path, **settings)
    assert job.data.taxonomy == "wordnet"
    job = folder_job(tmp_path, **settings | {"taxonomy": "./wordnet"})
    assert job.data.taxonomy == tmp_path / "wordnet"
    store = RunStore.create(tmp_path / "run")
    run_samples(store, job, quiet_cluster(tmp_path))
    found = stored_samples(store)
    expected = open_source(job.data, 0).list(0)
    assert found.label_names == ("goldfish", "dog")
    assert found.macro_names == ("vertebrate",)
    for name in ("key", "name"):
        assert getattr(found.taxonomy, name) == getattr(expected.taxonomy, name)
    for name in ("parent", "leaf"):
        np.testing.assert_array_equal(getattr(found.taxonomy, name), getattr(expected.taxonomy, name))
    assert found.taxonomy.name[found.taxonomy.lowest_common(0, 1)] == "vertebrate"


def test_another_taxonomy_is_another_digest_of_it_alone(tmp_path):
    """What depends on the classes alone, such as measures, stays when only the tree above them changes."""
    digests, wanted = [], []
    for number, above in enumerate(("even", "even", "odd")):
        table = write(tmp_path, f"0,{above}\n1,odd\n2,even\n", "tree.csv")
        job = digits_job(tmp_path, data={"source": "digits", "classes": ["0", "1", "2"], "taxonomy": str(table)})
        store = RunStore.create(tmp_path / f"run{number}")
        run_samples(store, job, quiet_cluster(tmp_path))
        digests.append(manifest_digests(store, job))
        wanted.append(samples_digest(job))
    assert digests[0] == digests[1]
    assert digests[0].pop("taxonomy") != digests[2].pop("taxonomy")
    assert digests[0] == digests[2]
    assert wanted[0] == wanted[1] != wanted[2]  # the manifest is made anew where the file changed
    plain = digits_job(tmp_path, data={"source": "digits", "classes": ["0", "1", "2"]})
    store = RunStore.create(tmp_path / "plain")
    run_samples(store, plain, quiet_cluster(tmp_path))
    assert "taxonomy" not in manifest_digests(store, plain)
    assert stored_samples(store).taxonomy is None


def test_samples_need_a_taxonomy_of_their_classes():
    tree = Taxonomy.of_parents({"a": "x", "b": "x"}, ["a", "b"])
    samples = label_samples(["1"], ["a"], {"a": "a"}, Data(source="digits"))
    with pytest.raises(DataError, match="a taxonomy of 2 classes for 1"):
        type(samples)(samples.id, samples.label, samples.label_names, samples.macro, taxonomy=tree)


def test_the_shipped_taxonomy_of_fashion_mnist():
    data = read_job(JOBS / "fashion_mnist.toml").data
    tree = class_taxonomy({name: name for name in CLASSES}, data)
    code, names = macro_of_taxonomy(tree, data)
    assert names == ("tops", "trousers", "shoes", "bags")
    assert np.bincount(code).tolist() == [5, 1, 3, 1]
    assert [len(np.unique(tree.level(depth))) for depth in tree.levels] == [3, 5, 8, 10]
