"""`make bench-plan`: what `dnuc plan` says a job will take, beside what it takes, stage by stage."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dnuc.cluster import Local
from dnuc.forecast import EXPECTED, StageTime, forecast, question_of
from dnuc.job import Job, parse_job
from dnuc.pace import measure_pace
from dnuc.pipeline import run_job
from dnuc.plan import plan_job
from tests.benchmarks.images import make_images
from tests.benchmarks.machine import ROOT, this_machine
from tests.benchmarks.page import markdown, write

PAGE = ROOT / "docs" / "results" / "plan.md"
TOGETHER = {"scores": ("moments", "scores", "cca"), "cka": ("moments", "cka")}  # stages of a run in one of the forecast
LEFT_OUT = ("report", "compared")

TEXT = """\
# How well `dnuc plan` predicts the time

Written by `make bench-plan`.{note} Each job is planned, then run, on worker processes of this machine; seconds are
those of the stages in progress.json. `dnuc plan` says: "{expected}".

| this machine | |
|---|---|
{machine}

{tables}

A prediction that is "at most" counts searches that stored lists may save. What a stage takes on other machines, disks
and data is not seen here.

## Run it again

    make bench-plan
    make bench-plan ARGS="--quick"    # tiny: does it work?
"""


@dataclass(frozen=True)
class Outcome:
    """A job as it was predicted and as it went."""

    title: str
    predicted: list[StageTime]
    real: dict[str, float]  # seconds by stage

    def rows(self) -> list[list[str]]:
        """Stage by stage: predicted, real, predicted / real; and all stages together."""
        found = []
        for stage in self.predicted:
            names = TOGETHER.get(stage.name, (stage.name,))
            real = sum(self.real.get(name, 0.0) for name in names)
            if real:
                most = "at most " if stage.at_most else ""
                found.append([stage.name, f"{most}{stage.seconds:.1f}", f"{real:.1f}", f"{stage.seconds / real:.2f}"])
        told = [stage for stage in self.predicted if stage.name != "start"]
        predicted, real = sum(s.seconds for s in told), sum(self.real.values())
        return [*found, ["all", f"{predicted:.1f}", f"{real:.1f}", f"{predicted / real:.2f}"]]


def write_arrays(base: Path, n: int, widths: tuple[int, ...]) -> None:
    """Layers of a mixture of 20 classes, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 20
    hidden = rng.standard_normal((n, 12), np.float32) + 2 * rng.standard_normal((20, 12), np.float32)[labels]
    for width in widths:
        x = hidden @ rng.standard_normal((12, width), np.float32) + 0.1 * rng.standard_normal((n, width), np.float32)
        np.save(base / f"layer{width}.npy", np.maximum(x, 0))
    np.save(base / "labels.npy", labels)


def arrays(base: Path, n: int, widths: tuple[int, ...], **tables: Any) -> Job:
    """Given layers: neighbors and everything after them."""
    write_arrays(base, n, widths)
    model = {"name": "net", "arrays": {f"layer{width}": f"layer{width}.npy" for width in widths}}
    return parse_job(
        {"name": "arrays", "data": {"source": "arrays", "labels": "labels.npy"}, "model": [model], **tables}, base
    )


def images(base: Path, count: int, architecture: str, size: int | None, **tables: Any) -> Job:
    """JPEGs through a network."""
    make_images(base / "images", count)
    model = {"name": architecture, "architecture": architecture, "weights": "random"}
    model |= {"image_size": size} if size else {}
    data = {"source": "image_folder", "path": "images"}
    return parse_job({"name": architecture, "data": data, "model": [model], **tables}, base)


MORE = {
    "dimension": {"pca": True, "pca_samples": 2048, "per_class": True, "decimation": True},
    "similarity": {"imbalance": True, "cka": ["linear", "gaussian"], "samples": 4096},
}
SMALLER = MORE | {"similarity": MORE["similarity"] | {"samples": 64}}
JOBS: dict[str, tuple[Callable[[Path], Job], Callable[[Path], Job]]] = {
    "10,000 samples in four given layers": (
        lambda base: arrays(base, 10_000, (64, 1024, 4096, 16384), **MORE),
        lambda base: arrays(base, 300, (16, 64), **SMALLER),
    ),
    "40,000 samples in three given layers": (
        lambda base: arrays(base, 40_000, (64, 512, 4096)),
        lambda base: arrays(base, 600, (16, 64)),
    ),
    "1,500 JPEGs through ResNet50": (
        lambda base: images(base, 1500, "resnet50", None),
        lambda base: images(base, 40, "resnet18", 64),
    ),
}


def compare(title: str, job: Job, directory: Path) -> Outcome:
    """Predict, then run."""
    place = Local()
    plan = plan_job(job, place)
    predicted = forecast(plan, job, measure_pace(question_of(plan, job), plan.threads))
    path = run_job(job, place, directory / "run", quiet=True)
    real: dict[str, float] = {}
    for stage in json.loads((path / "progress.json").read_text())["stages"]:
        if stage["name"] not in LEFT_OUT:
            real[stage["name"]] = real.get(stage["name"], 0.0) + stage["seconds"]
    return Outcome(title, predicted, real)


def page(outcomes: list[Outcome], note: str) -> str:
    """docs/results/plan.md."""
    titles = ["stage", "predicted, s", "real, s", "predicted / real"]
    tables = [f"## {o.title}\n\n{markdown(titles, o.rows())}" for o in outcomes]
    machine = "\n".join(this_machine().lines())
    told = f" {note}" if note else ""
    return TEXT.format(note=told, expected=EXPECTED, machine=machine, tables="\n\n".join(tables))


Quick = Annotated[bool, typer.Option("--quick", help="Tiny jobs, a minute or two: does it work?")]
Note = Annotated[str, typer.Option(help="A sentence for the page, such as what else ran on the machine.")]
Out = Annotated[Path | None, typer.Option(help="Where the page goes; docs/results/plan.md, or nowhere with --quick.")]


def main(quick: Quick = False, note: Note = "", out: Out = None) -> None:
    """What `dnuc plan` predicts beside what jobs take on this machine, for three jobs."""
    outcomes = []
    for title, sizes in JOBS.items():
        with tempfile.TemporaryDirectory(prefix="dnuc-bench-") as directory:
            job = sizes[quick](Path(directory))
            outcomes.append(compare(title if not quick else f"{title}, but tiny", job, Path(directory)))
        typer.echo(f"{title}: " + ", ".join(f"{row[0]} {row[1]} / {row[2]}" for row in outcomes[-1].rows()))
    text = page(outcomes, note)
    typer.echo(f"\n{text}")
    write(text, out or (None if quick else PAGE))


if __name__ == "__main__":
    typer.run(main)
