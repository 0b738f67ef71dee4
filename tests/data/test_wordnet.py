"""WordNet's files: a small one of the same format, and the real one where Debian's package is installed."""

import os
from pathlib import Path

import numpy as np
import pytest

from dnuc.data.text import read_ids
from dnuc.data.wordnet import SYSTEM_PATH, WordNet, wordnet_taxonomy
from dnuc.errors import DataError
from tests.data.wordnet_files import SYNSETS, write_wordnet

WNIDS = read_ids(Path(__file__).parents[2] / "jobs" / "imagenet_wnids.txt")


@pytest.fixture
def offset(tmp_path):
    return write_wordnet(tmp_path)


def words(path):
    return [synset.words[0] for synset in path]


def test_a_synset_has_words_hypernyms_and_a_gloss(tmp_path, offset):
    wordnet = WordNet(tmp_path)
    found = wordnet.synset(offset["dog"])
    assert found.words == ("dog", "domestic dog", "Canis familiaris")
    assert found.hypernyms == (offset["domestic"], offset["canine"])
    assert found.gloss == "what dog is"
    assert found.wnid == f"n{offset['dog']:08d}"
    assert wordnet.synset(offset["Paris"]).hypernyms == (offset["capital"],)
    assert wordnet.version == "WordNet 3.0"


def test_three_ways_to_name_a_meaning(tmp_path, offset):
    wordnet = WordNet(tmp_path)
    assert wordnet.find(f"n{offset['tench']:08d}").words[0] == "tench"
    assert wordnet.find("crane.n.02").offset == offset["crane-machine"]
    for noun in ("goldfish", "Carassius auratus", "carassius_auratus"):
        assert wordnet.find(noun).offset == offset["goldfish"]
    assert wordnet.find("dog, domestic dog,Canis familiaris").offset == offset["dog"]
    assert wordnet.sense_name(wordnet.synset(offset["crane-machine"])) == "crane.n.02"
    assert wordnet.sense_name(wordnet.synset(offset["Paris"])) == "paris.n.01"
    assert [s.offset for s in wordnet.senses("Crane")] == [offset["crane-bird"], offset["crane-machine"]]
    assert wordnet.senses("unicorn") == []


def test_of_several_things_the_longest_path_then_the_first_named(tmp_path):
    write_wordnet(tmp_path)
    wordnet = WordNet(tmp_path)
    assert words(wordnet.path_to(wordnet.find("dog"))) == ["entity", "animal", "vertebrate", "canine", "dog"]
    assert words(wordnet.path_to(wordnet.find("piano"))) == ["entity", "artifact", "keyboard instrument", "piano"]


def test_a_taxonomy_of_ids_senses_and_nouns(tmp_path, offset):
    tree = wordnet_taxonomy([f"n{offset['tench']:08d}", "crane.n.01", "dog", "piano"], tmp_path)
    assert [tree.name[node] for node in tree.leaf] == ["tench", "crane", "dog", "piano"]
    assert tree.key[tree.leaf[2]] == f"n{offset['dog']:08d}"
    assert "domestic animal" not in tree.name
    assert tree.distances()[0].tolist() == [0, 4, 4, 7]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("crane", r"'crane' has 2 meanings; write which: crane.n.01 \(what crane-bird is\), crane.n.02 \(what"),
        ("goldfisch", "'goldfisch' has 0 meanings; closest: 'goldfish'"),
        ("goldfish, tench", r"'goldfish, tench' has 0 meanings; write which: goldfish.n.01 \(what goldfish is\)"),
        ("crane.n.03", r"there is no 'crane.n.03'; write which: crane.n.01"),
        ("goldfsh.n.01", "there is no 'goldfsh.n.01'; closest: 'goldfish'"),
        ("n00000001", r"no synset n00000001 in '.*data.noun'; ids of ImageNet need the files of WordNet 3.0"),
        ("n99999999", "no synset n99999999"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, given, message):
    write_wordnet(tmp_path)
    with pytest.raises(DataError, match=message):
        WordNet(tmp_path).find(given)


def test_a_number_within_a_line_is_no_synset(tmp_path, offset):
    """A line holds the offsets of other synsets: only those at its start count."""
    data = (tmp_path / "data.noun").read_bytes()
    inside = data.index(b"%08d" % offset["entity"], offset["animal"])
    assert inside > offset["animal"]
    with pytest.raises(DataError, match=f"no synset n{inside:08d}"):
        WordNet(tmp_path).synset(inside)


def test_other_versions_have_other_ids(tmp_path):
    offset = write_wordnet(tmp_path, version="3.1")
    wordnet = WordNet(tmp_path)
    with pytest.raises(DataError, match=r"is a synset of WordNet 3.0, and '.*' is of WordNet 3.1"):
        wordnet.find(f"n{offset['tench']:08d}")
    assert wordnet.find("tench").offset == offset["tench"]


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(
        DataError, match=r"no data.noun in '.*nowhere'; install the Debian package wordnet-base, or set"
    ):
        WordNet(tmp_path / "nowhere")
    offset = write_wordnet(
        tmp_path / "cut", change=lambda line: line.replace("| what tench is", "").replace("02 ", "0f ")
    )
    with pytest.raises(DataError, match=rf"the line of n{offset['tench']:08d} in .* is damaged \(.*\); get the file"):
        WordNet(tmp_path / "cut").synset(offset["tench"])
    circle = SYNSETS | {"entity": (["entity"], ["dog"])}
    write_wordnet(tmp_path / "circle", circle)
    with pytest.raises(DataError, match="is a kind of itself"):
        wordnet_taxonomy(["dog"], tmp_path / "circle")


# --- the real files ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wordnet_files():
    """Where CI installed the package, missing files are a failure; elsewhere these tests are skipped."""
    if not (SYSTEM_PATH / "data.noun").is_file():
        reason = f"no data.noun in {SYSTEM_PATH}: install the Debian package wordnet-base"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="module")
def imagenet(wordnet_files):
    return wordnet_taxonomy(WNIDS)


@pytest.mark.wordnet
def test_the_files_are_of_the_version_that_imagenet_uses(wordnet_files):
    """torchvision's names of the 1000 classes, in the order of the ids, are words of the synsets with these numbers."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    wordnet = WordNet(SYSTEM_PATH)
    assert wordnet.version == "WordNet 3.0"
    told_apart = {"crane bird": "crane", "maillot tank suit": "tank suit"}
    assert len(WNIDS) == len(_IMAGENET_CATEGORIES) == 1000
    for wnid, name in zip(WNIDS, _IMAGENET_CATEGORIES, strict=True):
        assert told_apart.get(name, name).lower() in [word.lower() for word in wordnet.find(wnid).words]


@pytest.mark.wordnet
def test_a_class_of_imagenet_is_found_by_its_words_or_refused(wordnet_files):
    """As data sets on the web call them, all words with commas: never another meaning, and few are ambiguous."""
    wordnet, refused = WordNet(SYSTEM_PATH), {}
    for wnid in WNIDS:
        synset = wordnet.find(wnid)
        try:
            assert wordnet.find(", ".join(synset.words)) is synset
        except DataError as error:
            refused[synset] = str(error)
    assert len(refused) < 200
    for synset, message in refused.items():
        assert synset.gloss.split(";")[0][:20] in message  # it is among the meanings that are listed


@pytest.mark.wordnet
def test_every_noun_has_a_path_to_the_top(wordnet_files):
    wordnet = WordNet(SYSTEM_PATH)
    offsets = {offset for found in wordnet._senses.values() for offset in found}
    assert len(offsets) == 82_115
    for offset in sorted(offsets)[::11]:
        path = wordnet.path_to(wordnet.synset(offset))
        assert path[0].words == ("entity",)
        assert path[-1].offset == offset


@pytest.mark.wordnet
def test_animals_and_artifacts_of_imagenet(imagenet):
    """As many as by all paths together, so the tree loses none; the other 80 are food, plants, places, people."""
    group = imagenet.below([imagenet.find("n00015388"), imagenet.find("n00021939")])
    assert np.bincount(group + 1).tolist() == [80, 398, 522]
    assert (group[:398] == 0).all()  # in the order of ids, which is that of the files


@pytest.mark.wordnet
def test_distances_of_imagenet(imagenet):
    path, wu_palmer = imagenet.distances("path"), imagenet.distances("wu_palmer")
    name = [imagenet.name[node] for node in imagenet.leaf]
    goldfish, tench, siamese, egyptian, piano = map(
        name.index, ("goldfish", "tench", "Siamese cat", "Egyptian cat", "upright")
    )
    assert path[goldfish, tench] == path[siamese, egyptian] == 2
    assert path[goldfish, tench] < path[goldfish, siamese] < path[goldfish, piano]
    assert wu_palmer[goldfish, tench] < wu_palmer[goldfish, siamese] < wu_palmer[goldfish, piano]
    assert imagenet.name[imagenet.lowest_common(goldfish, siamese)] == "vertebrate"
    assert imagenet.levels[0] == 1
    assert len(np.unique(imagenet.level(imagenet.levels[-1]))) == 1000
