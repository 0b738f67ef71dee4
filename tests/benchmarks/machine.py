"""The machine that numbers are of: what it is called, and what makes its processor fast at matrix products."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil

# Flags of the processor that decide how fast products are.
TELLING = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
    "i8mm",
)
PACKAGES = ("torch", "numpy", "numba", "dask", "zarr")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Machine:
    """What a reader must know to compare numbers with another machine's."""

    processor: str
    flags: str
    cores: int
    memory: int  # bytes
    system: str
    versions: dict[str, str]
    date: str

    def lines(self) -> list[str]:
        """As the rows of a table: what, value."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return [
            f"| processor | {self.processor}, {self.cores} cores |",
            f"| instructions | {self.flags} |",
            f"| memory | {self.memory / 2**30:.0f} GiB |",
            f"| system | {self.system} |",
            f"| versions | {versions} |",
            f"| date | {self.date} |",
        ]


def this_machine() -> Machine:
    """The machine that this runs on."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Machine(
        info.get("model name") or platform.processor() or platform.machine(),
        ", ".join(f for f in TELLING if f in flags) or "unknown",
        cores(),
        psutil.virtual_memory().total,
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        {"dnuc": dnuc_version(), **{name: version(name) for name in PACKAGES}},
        date.today().isoformat(),
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def dnuc_version() -> str:
    """The release, and the commit if this is a clone: "0.1.0 (3816874)", with a + for changes after it."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return version("dnuc")
    return f"{version('dnuc')} ({told.stdout.strip()})"


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; nothing where there is none."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
