"""What was seen of the faults, as the table of docs/reliability.md."""

import platform
import re
from dataclasses import dataclass

import psutil
import torch

from dnuc._version import __version__

BEGIN, END = "<!-- measured: make check-cluster writes what follows -->", "<!-- end of what is measured -->"
PLACES = {
    r"tcp://[\d.]+:\d+": "tcp://...",
    r"/\S+/volume/run": "RUN",
    r"process \d+ on [^\s:]+": "process NUMBER on HOST",
}
UNITS = ("blocks", "tiles", "layers")


@dataclass(frozen=True)
class Outcome:
    """What was seen of one fault in one stage."""

    fault: str
    stage: str
    faults: int  # how often it happened
    starts: int  # of the command, in all
    told: str  # the last time
    then: str
    tasks: dict[str, int]  # that were begun: blocks, tiles, and tasks of a layer
    repeated: dict[str, int]  # how many more times one was begun than needed


def markdown(outcomes):
    """The table, and below it what the user reads."""
    blocks, tiles, layers = (max(x.tasks[unit] for x in outcomes) for unit in UNITS)
    lines = [
        f"dnuc {__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{psutil.cpu_count()} CPU cores; a scheduler, two workers of one thread, and the client. A run consists "
        f"of {blocks} blocks, {tiles} tiles, and {layers} tasks of a layer each.",
        "",
        "| fault | in | times | starts | blocks again | tiles again | layer tasks again |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for x in outcomes:
        again = " | ".join(str(x.repeated[unit]) for unit in UNITS)
        lines.append(f"| {x.fault} | {x.stage} | {x.faults} | {x.starts} | {again} |")
    lines += ["", "What the user reads, and does (paths, addresses and hosts shortened):", ""]
    for fault in dict.fromkeys(x.fault for x in outcomes):
        seen = [x for x in outcomes if x.fault == fault]
        told = next((anonymous(x.told) for x in seen if x.told), "nothing")
        lines += [f"- **{fault}**. Told: {told}. Then: {seen[0].then or 'nothing'}."]
    return "\n".join(lines)


def anonymous(text):
    """A message without what differs from run to run."""
    for pattern, name in PLACES.items():
        text = re.sub(pattern, name, text)
    return text


def write(path, table):
    """Replace the measured part of a document."""
    content = path.read_text(encoding="utf-8")
    before, rest = content.split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")
