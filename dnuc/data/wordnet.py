"""WordNet's own noun files: what a word means, and what that is a kind of.

A reader of our own, for the files are plain text made for it (wndb(5WN)): a synset's number is the position of its
line in data.noun, so a thousand classes cost a few thousand short reads. NLTK's reader would bring four more packages
and a layout of the files that Debian's package does not have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dnuc.errors import DataError, closest
from dnuc.taxonomy import Taxonomy

SYSTEM_PATH = Path("/usr/share/wordnet")  # where Debian's wordnet-base puts the files
VERSION = b"WordNet 3.0"  # whose offsets ImageNet's class ids are
WNID = re.compile(r"n(\d{8})")
SENSE = re.compile(r"(.+)\.n\.(\d+)")
HYPERNYMS = ("@", "@i")  # is a kind of; is an instance of (Paris: a capital)


@dataclass(frozen=True)
class Synset:
    """One meaning: the words for it, and what it is a kind of.

    Attributes
    ----------
    offset : int
        Its number: the position of its line in data.noun.
    words : tuple of str
        Synonyms, the most usual first, with blanks: ("tench", "Tinca tinca").
    hypernyms : tuple of int
        Offsets of what it is a kind of, in WordNet's order; () for "entity", of which all is a kind.
    gloss : str
        Its definition.
    """

    offset: int
    words: tuple[str, ...]
    hypernyms: tuple[int, ...]
    gloss: str

    @property
    def wnid(self) -> str:
        """ImageNet's name for it: n01440764."""
        return f"n{self.offset:08d}"


class WordNet:
    """The nouns of a WordNet 3.0 database.

    Parameters
    ----------
    path : path
        The directory of data.noun and index.noun: Debian's package wordnet-base, or the "dict" of a download.

    Raises
    ------
    DataError
        If a file is missing.
    """

    def __init__(self, path: str | Path = SYSTEM_PATH) -> None:
        self.path = Path(path)
        self._synsets: dict[int, Synset] = {}
        self._above: dict[int, tuple[int, ...]] = {}
        self._data, self._index = (self._read(name) for name in ("data.noun", "index.noun"))

    def _read(self, name: str) -> bytes:
        path = self.path / name
        if not path.is_file():
            raise DataError(
                f"WordNet: no {name} in '{self.path}'; install the Debian package wordnet-base, or set data.taxonomy "
                "to the directory that holds WordNet 3.0's data.noun and index.noun"
            )
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"WordNet: '{path}' cannot be read: {error}") from error

    def synset(self, offset: int) -> Synset:
        """The synset of a number.

        Raises
        ------
        DataError
            If no synset has it, as in another version of WordNet, or its line is damaged.
        """
        if offset not in self._synsets:
            end = self._data.find(b"\n", offset)
            line = self._data[offset : end if end >= 0 else None]
            if line[:9] != b"%08d " % offset or (offset and self._data[offset - 1 : offset] != b"\n"):
                raise DataError(
                    f"WordNet: no synset n{offset:08d} in '{self.path / 'data.noun'}'; ids of ImageNet need the files "
                    f"of WordNet 3.0, these are of {self.version}"
                )
            self._synsets[offset] = self._parse(offset, line)
        return self._synsets[offset]

    def _parse(self, offset: int, line: bytes) -> Synset:
        """A line of data.noun: offset, file, "n", number of words (hexadecimal), words, pointers | gloss."""
        try:
            fields, _, gloss = line.decode("utf-8").partition(" | ")
            field = fields.split()
            count = int(field[3], 16)
            words = tuple(word.replace("_", " ") for word in field[4 : 4 + 2 * count : 2])
            pointers = field[5 + 2 * count :]
            n_pointers = int(field[4 + 2 * count])
            if len(words) != count or not count or len(pointers) < 4 * n_pointers:
                raise ValueError(f"{len(words)} words and {len(pointers) // 4} pointers")
            above = [int(to) for kind, to in zip(pointers[::4], pointers[1::4], strict=False) if kind in HYPERNYMS]
        except (ValueError, IndexError) as error:
            raise DataError(
                f"WordNet: the line of n{offset:08d} in '{self.path / 'data.noun'}' is damaged ({error}); get the file "
                "again"
            ) from error
        return Synset(offset, words, tuple(above), gloss.strip())

    @property
    def version(self) -> str:
        """What the license at the start of data.noun says."""
        found = re.search(rb"WordNet [\d.]+\d", self._data[:4000])
        return found.group().decode() if found else "an unknown version"

    @cached_property
    def _senses(self) -> dict[str, tuple[int, ...]]:
        """Word (lower case, underscores) -> its meanings as nouns, the most usual first."""
        found = {}
        for line in self._index.decode("utf-8").splitlines():
            if not line.startswith(" ") and line:
                fields = line.split()
                found[fields[0]] = tuple(int(offset) for offset in fields[len(fields) - int(fields[2]) :])
        return found

    def senses(self, word: str) -> list[Synset]:
        """The meanings of a word as a noun, the most usual first; none for words that WordNet does not know."""
        return [self.synset(offset) for offset in self._senses.get(_lemma(word), ())]

    def sense_name(self, synset: Synset) -> str:
        """What a synset is called in short, such as "crane.n.05": its first word, and which of its meanings."""
        lemma = _lemma(synset.words[0])
        return f"{lemma}.n.{self._senses[lemma].index(synset.offset) + 1:02d}"

    def find(self, given: str) -> Synset:
        """The synset of an ImageNet id ("n02012849"), of a sense ("crane.n.05"), or of a noun with one meaning.

        Or of several nouns with one meaning in common, "tench, Tinca tinca", as ImageNet's classes are often called.

        Raises
        ------
        DataError
            If there is none, or a noun has several meanings: they are listed.
        """
        if match := WNID.fullmatch(given):
            if VERSION not in self._data[:4000]:
                raise DataError(
                    f"WordNet: {given!r} is a synset of WordNet 3.0, and '{self.path}' is of {self.version}; install "
                    "the Debian package wordnet-base"
                )
            return self.synset(int(match[1]))
        if match := SENSE.fullmatch(given):
            senses = self.senses(match[1])
            if not 1 <= int(match[2]) <= len(senses):
                raise DataError(f"WordNet: there is no {given!r}; {self._known(match[1], senses)}")
            return senses[int(match[2]) - 1]
        words = {_lemma(word) for word in given.split(",")}
        first = given.split(",")[0]
        senses = [synset for synset in self.senses(first) if words <= {_lemma(word) for word in synset.words}]
        if len(senses) != 1:
            raise DataError(f"WordNet: {given!r} has {len(senses)} meanings; {self._known(first, self.senses(first))}")
        return senses[0]

    def _known(self, word: str, senses: Sequence[Synset]) -> str:
        """The meanings of a word, or the words most like it, as the end of a message."""
        if not senses:
            return closest(_lemma(word), self._senses)
        lemma = _lemma(word)
        told = [f"{lemma}.n.{i:02d} ({s.gloss.split(';')[0][:70]})" for i, s in enumerate(senses, start=1)]
        return f"write which: {', '.join(told[:12])}"

    def path_to(self, synset: Synset) -> list[Synset]:
        """From "entity" down to a synset, each a kind of the one before.

        Where WordNet says that something is a kind of several things (a dog: a canine and a domestic animal), the
        path goes through the one that is most specific, the longest path; among equally long ones, through the one
        that WordNet names first. For ImageNet's classes the longest paths are those of zoology and of function, and
        no animal or artifact is lost: 398 and 522 of the 1000, as by all paths.
        """
        return [self.synset(offset) for offset in reversed(self._longest(synset.offset, ()))]

    def _longest(self, offset: int, below: tuple[int, ...]) -> tuple[int, ...]:
        """The synset and what is above it, up to the top."""
        if offset in below:
            raise DataError(f"WordNet: n{offset:08d} is a kind of itself in '{self.path / 'data.noun'}'; get it again")
        if offset not in self._above:
            above = [self._longest(hypernym, (*below, offset)) for hypernym in self.synset(offset).hypernyms]
            self._above[offset] = (offset, *max(above, key=len, default=()))
        return self._above[offset]


def wordnet_taxonomy(classes: Sequence[str], path: str | Path | None = None) -> Taxonomy:
    """The tree of WordNet above some classes: ImageNet's, or whatever nouns they are.

    Parameters
    ----------
    classes : list of str
        Each an ImageNet id ("n01443537"), a sense ("crane.n.05"), or a noun that has one meaning ("goldfish").
    path : path, optional
        Directory of WordNet 3.0's data.noun and index.noun; that of Debian's wordnet-base when absent.

    Returns
    -------
    Taxonomy
        Keys are ImageNet ids, names are the first words. The tree has one parent where WordNet has several, by the
        rule of `WordNet.path_to`.

    Raises
    ------
    DataError
        If a file is missing or damaged, a class is unknown, or a noun has several meanings (they are listed).
    """
    wordnet = WordNet(path or SYSTEM_PATH)
    return synset_taxonomy(wordnet, [wordnet.find(given) for given in classes])


def synset_taxonomy(wordnet: WordNet, synsets: Sequence[Synset]) -> Taxonomy:
    """The tree above some synsets."""
    paths = [wordnet.path_to(synset) for synset in synsets]
    names = {synset.wnid: synset.words[0] for path in paths for synset in path}
    return Taxonomy.of_chains([[synset.wnid for synset in path] for path in paths], names)


def _lemma(word: str) -> str:
    return word.strip().lower().replace(" ", "_")
