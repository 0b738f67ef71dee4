"""`make bench-images`: how much of the speed of the bare forward pass is left when images come from files.

Every process measures all contenders in turn, and all processes start each of them together, so that with as many
processes as cores there is no idle core that could decode for free.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from dnuc.activations import Network, build_network, extract, select_layers
from dnuc.activations.extract import reproducible
from dnuc.activations.feeding import batches_ahead
from dnuc.data import Source, open_source
from dnuc.job import Data, Model
from tests.benchmarks.machine import ROOT, cores, this_machine
from tests.benchmarks.page import markdown, write
from tests.data.packing import class_tars, parquet_files, tar_of_tars

PAGE = ROOT / "docs" / "results" / "images.md"
WIDTH, HEIGHT, QUALITY = 500, 375, 90  # the most frequent size in ImageNet
NOISE = 40  # of the pixels: files of some 110 kB, ImageNet's mean
CLASSES = 4
GROUP = 100  # rows of a row group, as `datasets` writes images
LAYERS = ("avgpool", "output")
TARGET = 0.9
SOURCES = ("image folder", "class tars", "tar of tars", "Parquet")
BARE, SERIAL = "bare forward pass", "image folder, read first"

TEXT = """\
# Reading images: what is left of the bare forward pass

Written by `make bench-images`.{note} {images} generated JPEGs of {width} x {height} pixels (quality {quality}, on
average {size:.0f} kB) in {architecture} with its published preprocessing, in batches of {batch}; {layers} are kept.
Each process computes with one thread, and another reads, decodes and preprocesses images ahead. Bare: the same batches,
ready in memory, through the network without hooks. Medians of {rounds} rounds in turn; all sources gave the same
activations, bit for bit.

| this machine | |
|---|---|
{machine}

{table}

Share: of the images a second of the bare forward pass with the same number of processes; the target is {target:.0%}.
With one process there is a core left that reads ahead; with {cores} there is none, so that decoding takes its time from
the forward pass. "Read first" reads a whole batch, then computes it.

Reading, decoding and preprocessing alone, one thread: {decoding}.

## Run it again

    make bench-images
    make bench-images ARGS="--quick"    # tiny: does it work?
"""


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    images: int = 256  # of each process
    batch: int = 64
    rounds: int = 3
    architecture: str = "resnet50"
    size: int | None = None  # of the network's input; that of the published preprocessing when absent


Contender = Callable[[], np.ndarray | None]


def make_images(root: Path, count: int) -> Path:
    """An image folder: smooth shapes with noise, which JPEG compresses about as far as photographs."""
    random = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"class{number * CLASSES // count}"
        folder.mkdir(parents=True, exist_ok=True)
        shapes = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(shapes.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels += random.integers(-NOISE, NOISE + 1, pixels.shape, dtype=np.int16)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05d}.JPEG", quality=QUALITY)
    return root


def sources(root: Path) -> dict[str, Source]:
    """The images in every form; they are packed if they are not yet."""
    packed = root.parent / "packed"
    if not packed.exists():
        class_tars(root, packed / "tars")
        tar_of_tars(root, packed)
        parquet_files(root, packed / "parquet", per_file=10 * GROUP, group=GROUP)
    data = (
        Data(source="image_folder", path=root),
        Data(source="image_tar", path=packed / "tars"),
        Data(source="image_tar", path=packed / "train.tar"),
        Data(source="parquet", path=packed / "parquet"),
    )
    return {name: open_source(d, run=root.parent / "run") for name, d in zip(SOURCES, data, strict=True)}


def network(setting: Setting) -> Network:
    """With random weights: what values it computes does not change how long that takes."""
    model = Model(name="m", architecture=setting.architecture, weights="random", image_size=setting.size)
    return build_network(model, seed=0, n_classes=1000, image_shape=(HEIGHT, WIDTH, 3))


def contenders(setting: Setting, root: Path) -> dict[str, Contender]:
    """What is timed, by name; each gives the activations that it found."""
    net, opened = network(setting), sources(root)
    folder, ids = opened[SOURCES[0]], opened[SOURCES[0]].list(0).id.tolist()[: setting.images]
    ready = net.preprocess(folder.image(i) for i in ids)
    layers = select_layers(net, LAYERS)

    def through(batches: Iterator[Tensor]) -> np.ndarray:
        found = extract(net, layers, batches, batch_size=setting.batch, count=len(ids))
        return np.concatenate(list(found.values()), axis=1)

    def serially() -> Iterator[Tensor]:
        for start in range(0, len(ids), setting.batch):
            yield net.preprocess(folder.image(i) for i in ids[start : start + setting.batch])

    def bare() -> None:
        with reproducible(1), torch.inference_mode():
            for batch in ready.split(setting.batch):
                net.module(batch)

    def from_files(source: Source) -> np.ndarray:
        return through(batches_ahead(lambda i: net.transform(source.image(i)), ids, setting.batch))

    return {
        BARE: bare,
        SERIAL: lambda: through(serially()),
        **{name: partial(from_files, source) for name, source in opened.items()},
    }


def decode_seconds(setting: Setting, root: Path) -> dict[str, float]:
    """For each source, seconds of one thread for an image, from the file to the network's input."""
    net = network(setting)
    found = {}
    with reproducible(1):
        for name, source in sources(root).items():
            ids = source.list(0).id.tolist()[: setting.images]
            net.transform(source.image(ids[0]))
            start = time.perf_counter()
            for sample_id in ids:
                net.transform(source.image(sample_id))
            found[name] = (time.perf_counter() - start) / len(ids)
    return found


def measure(setting: Setting, root: Path, together: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of every contender in every round, in this process; `together` waits for the other processes."""
    seconds: dict[str, list[float]] = {}
    seen = {}
    all_of_them = contenders(setting, root)
    all_of_them[BARE]()  # warms up
    for _ in range(setting.rounds):
        for name, run in all_of_them.items():
            together()
            start = time.perf_counter()
            answer = run()
            seconds.setdefault(name, []).append(time.perf_counter() - start)
            if answer is not None:
                seen[name] = hashlib.sha256(answer.tobytes()).hexdigest()
    if len(set(seen.values())) != 1:
        raise AssertionError(f"sources gave different activations: {seen}")
    return seconds


def rates(setting: Setting, root: Path, processes: int) -> dict[str, float]:
    """Images a second of so many processes that run the same at the same time: the median over the rounds."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with context.Pool(processes, _one_thread, (barrier,)) as pool:
        found = pool.starmap(_measure_together, [(setting, root)] * processes, chunksize=1)
    slowest = {name: [max(times) for times in zip(*(f[name] for f in found), strict=True)] for name in found[0]}
    return {name: processes * setting.images / statistics.median(times) for name, times in slowest.items()}


_barrier: Barrier | None = None


def _one_thread(barrier: Barrier) -> None:
    """What every process starts with."""
    global _barrier
    _barrier = barrier
    torch.set_num_threads(1)


def _measure_together(setting: Setting, root: Path) -> dict[str, list[float]]:
    assert _barrier is not None
    return measure(setting, root, _barrier.wait)


def page(
    setting: Setting, found: dict[int, dict[str, float]], decoding: dict[str, float], size: float, note: str
) -> str:
    """docs/results/images.md."""
    titles = [
        "",
        *(f"{n} process{'es' if n > 1 else ''}" + suffix for n in found for suffix in (", images/s", ", share")),
    ]
    rows = [
        [name, *(text for n in found for text in (f"{found[n][name]:.1f}", f"{found[n][name] / found[n][BARE]:.1%}"))]
        for name in found[1]
    ]
    told = ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in decoding.items())
    return TEXT.format(
        note=f" {note}" if note else "",
        images=setting.images,
        width=WIDTH,
        height=HEIGHT,
        quality=QUALITY,
        size=size / 1e3,
        architecture={"resnet50": "ResNet50"}.get(setting.architecture, setting.architecture),
        batch=setting.batch,
        layers=" and ".join(LAYERS),
        rounds=setting.rounds,
        machine="\n".join(this_machine().lines()),
        table=markdown(titles, rows),
        target=TARGET,
        cores=max(found),
        decoding=f"{told} an image",
    )


Images = Annotated[int, typer.Option(min=1, help="JPEGs that each process puts through the network.")]
Rounds = Annotated[int, typer.Option(min=1, help="Times that each contender runs; the median is shown.")]
Quick = Annotated[bool, typer.Option("--quick", help="A tiny network and few images, a minute: does it work?")]
Note = Annotated[str, typer.Option(help="A sentence for the page, such as what else ran on the machine.")]
Out = Annotated[Path | None, typer.Option(help="Where the page goes; docs/results/images.md, or nowhere with --quick.")]


def main(images: Images = 256, rounds: Rounds = 3, quick: Quick = False, note: Note = "", out: Out = None) -> None:
    """Images from files through ResNet50, beside the bare forward pass on this machine."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    setting = Setting(8, 4, 1, "resnet18", 64) if quick else Setting(images, rounds=rounds)
    with tempfile.TemporaryDirectory(prefix="dnuc-bench-") as directory:
        root = make_images(Path(directory) / "images", setting.images)
        decoding = decode_seconds(setting, root)
        found = {}
        for processes in sorted({1, cores()}):
            found[processes] = rates(setting, root, processes)
            typer.echo(f"{processes} processes: " + ", ".join(f"{k} {v:.1f}/s" for k, v in found[processes].items()))
        size = statistics.mean(path.stat().st_size for path in root.rglob("*.JPEG"))
    text = page(setting, found, decoding, size, note)
    typer.echo(f"\n{text}")
    write(text, out or (None if quick else PAGE))


if __name__ == "__main__":
    typer.run(main)
