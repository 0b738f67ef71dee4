"""A small WordNet in WordNet's own file format (wndb(5WN)): what the tests read instead of a download."""

HEADER = (
    "  1 This software and database is being provided to you, the LICENSEE, by  \n"
    "  2 WordNet {version} Copyright 2006 by Princeton University.  All rights reserved.  \n"
)
# name of a synset -> its words, and what it is a kind of
SYNSETS = {
    "entity": (["entity"], []),
    "animal": (["animal", "beast"], ["entity"]),
    "artifact": (["artifact", "artefact"], ["entity"]),
    "vertebrate": (["vertebrate"], ["animal"]),
    "fish": (["fish"], ["vertebrate"]),
    "bird": (["bird"], ["vertebrate"]),
    "canine": (["canine"], ["vertebrate"]),
    "domestic": (["domestic_animal"], ["animal"]),
    "tench": (["tench", "Tinca_tinca"], ["fish"]),
    "goldfish": (["goldfish", "Carassius_auratus"], ["fish"]),
    "crane-bird": (["crane"], ["bird"]),
    "crane-machine": (["crane"], ["artifact"]),
    "dog": (["dog", "domestic_dog", "Canis_familiaris"], ["domestic", "canine"]),
    "keyboard": (["keyboard_instrument"], ["artifact"]),
    "strings": (["stringed_instrument"], ["artifact"]),
    "piano": (["piano"], ["keyboard", "strings"]),
    "capital": (["capital"], ["artifact"]),
    "Paris": (["Paris", "City_of_Light"], ["capital"]),
}
INSTANCES = ("Paris",)  # @i in place of @


def write_wordnet(directory, synsets=SYNSETS, version="3.0", change=lambda line: line):
    """Write data.noun and index.noun; returns name -> offset. `change` may damage lines of data.noun.

    Offsets depend on the lengths of lines, and lines hold offsets; but these always take eight digits.
    """
    directory.mkdir(parents=True, exist_ok=True)
    header = HEADER.format(version=version)
    offset = dict.fromkeys(synsets, 0)
    for _ in range(2):
        lines, end = [], len(header.encode())
        for name, (words, above) in synsets.items():
            offset[name] = end
            symbol = "@i" if name in INSTANCES else "@"
            pointers = [f"{symbol} {offset[to]:08d} n 0000" for to in above] + [f"+ {offset[name]:08d} v 0101"]
            spoken = " ".join(f"{word} 0" for word in words)
            fields = f"{end:08d} 05 n {len(words):02x} {spoken} {len(pointers):03d} {' '.join(pointers)}"
            line = f"{fields} | what {name} is  \n"
            lines.append(line)
            end += len(line.encode())
    (directory / "data.noun").write_text(header + "".join(change(line) for line in lines), encoding="utf-8")
    senses: dict[str, list[str]] = {}
    for name, (words, _) in synsets.items():
        for word in words:
            senses.setdefault(word.lower(), []).append(name)
    entries = [
        f"{word} n {len(names)} 1 @ {len(names)} 0 {' '.join(f'{offset[n]:08d}' for n in names)}  \n"
        for word, names in sorted(senses.items())
    ]
    (directory / "index.noun").write_text(header + "".join(entries), encoding="utf-8")
    return offset
