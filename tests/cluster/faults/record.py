"""What was seen of the faults, as the table of docs/reliability.md."""

import platform
import re
from dataclasses import dataclass

import psutil
import torch

from dnuc._version import __version__

BEGIN, END = "<!-- measured: make check-cluster writes what follows -->", "<!-- end of what is measured -->"
PLACES = {r"tcp://[\d.:]+": "tcp://...", r"/\S+/volume/run": "RUN", r"(?<=\d) GiB": " GiB"}
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
    repeated: dict[str, int]  # blocks, tiles and layers that were begun again


def markdown(outcomes, work):
    """The table; `work` is what an undisturbed run consists of, {"blocks": .., "tiles": .., "layers": ..}."""
    size = ", ".join(f"{work[unit]} {unit}" for unit in UNITS)
    lines = [
        f"dnuc {__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{psutil.cpu_count()} CPU cores; a scheduler, two workers of one thread, and the client. An undisturbed run "
        f"is {size} (tasks of one layer) long.",
        "",
        "| fault | in | times | starts | done again: blocks, tiles, layers | then |",
        "|---|---|--:|--:|--:|---|",
    ]
    for x in outcomes:
        again = ", ".join(str(x.repeated[unit]) for unit in UNITS)
        lines.append(f"| {x.fault} | {x.stage} | {x.faults} | {x.starts} | {again} | {x.then or 'nothing'} |")
    lines += ["", "What the user reads (paths and addresses shortened):", ""]
    for fault in dict.fromkeys(x.fault for x in outcomes):
        told = dict.fromkeys(anonymous(x.told) for x in outcomes if x.fault == fault)
        shown = [text for text in told if text]
        lines += [f"- {fault}:", *(f"  > {text}" for text in shown[:1])] if shown else []
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
