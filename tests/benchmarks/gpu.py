"""`make bench-gpu`: dnuc on a GPU, beside the product and topk that one would write with torch, and the GPU's own rate.

Samples lie in the machine's memory; the way to the GPU is counted for everybody. They are made on the GPU, as it would
take a processor minutes: other values than those of `make bench`, of the same kind.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import torch
import typer

from dnuc import nearest_neighbors
from tests.benchmarks.answers import Truth, some_rows, truth
from tests.benchmarks.contenders import WARM_UP, Answer
from tests.benchmarks.machine import ROOT, this_machine
from tests.benchmarks.page import markdown, write
from tests.benchmarks.problems import CLUSTERS, LATENT, NOISE, WITHIN

PAGE = ROOT / "docs" / "results" / "neighbors_gpu.md"
ROWS_AT_ONCE = 4096  # of the product whose topk is taken
CHECKED = 50  # rows compared with float64 brute force
RATE_SIZE, RATE_TIMES = 16384, 20  # of the products that measure the rate

TEXT = """\
# Neighbors on a GPU

Written by `make bench-gpu`. {samples:,} generated samples (ReLU of clusters, latent variation and noise, float32) in
the machine's memory, k = {k}; times from there to the neighbors, copies included. Medians of {rounds} rounds in turn,
after a small search. Wrong: of {checked} random samples, how many differ from float64 brute force (dnuc: in a neighbor,
a distance or the order; torch: in the set of neighbors).

| this machine | |
|---|---|
| GPU | {gpu} |
| bfloat16 products | {rate:,.1f} TFLOP/s measured ({size:,} x {size:,} x {size:,}) |
{machine}

Share: N^2 D operations (each pair once) per second of the whole search, over the measured rate of bfloat16 products.
"""


@dataclass
class Timed:
    """One contender at one number of features."""

    title: str
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    failure: str = ""


Search = Callable[[np.ndarray, int, str], Answer]


def with_dnuc(x: np.ndarray, k: int, device: str) -> Answer:
    """dnuc's own choice of precision."""
    found = nearest_neighbors(x, k, device=device)
    return found.index, found.distance


def with_torch(x: np.ndarray, k: int, device: str, precision: str = "highest") -> Answer:
    """What one would write: all samples on the GPU, a block of products, topk."""
    torch.set_float32_matmul_precision(precision)
    try:
        return _product_topk(torch.from_numpy(x).to(device), k)
    finally:
        torch.set_float32_matmul_precision("highest")


def _product_topk(data: torch.Tensor, k: int) -> Answer:
    norms = torch.linalg.vector_norm(data, dim=1) ** 2
    found = []
    for start in range(0, len(data), ROWS_AT_ONCE):
        rows = data[start : start + ROWS_AT_ONCE]
        squares = torch.addmm(norms, rows, data.t(), alpha=-2)  # (rows, N); the rows' own norms change no order
        own = torch.arange(len(rows), device=data.device)
        squares[own, own + start] = torch.inf
        values, index = squares.topk(k, largest=False)
        distance = (values + norms[start : start + len(rows), None]).clamp(min=0).sqrt()
        found.append((index.cpu().numpy(), distance.cpu().numpy()))
    return np.concatenate([i for i, _ in found]), np.concatenate([d for _, d in found])


SEARCHES: dict[str, Search] = {
    "dnuc": with_dnuc,
    "torch float32 product + topk": with_torch,
    "torch TF32 product + topk": lambda x, k, device: with_torch(x, k, device, "high"),
}


def generate(n: int, features: int, device: str, seed: int = 0) -> np.ndarray:
    """Samples as those of problems.activations, made on the device, (N, D) float32 in the machine's memory."""
    random = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, device=device)

    centers, directions = normal(CLUSTERS, features), normal(LATENT, features) / LATENT**0.5
    x = np.empty((n, features), dtype=np.float32)
    for start in range(0, n, 1000):
        count = min(1000, n - start)
        cluster = torch.randint(CLUSTERS, (count,), generator=random, device=device)
        part = centers[cluster] + WITHIN * (normal(count, LATENT) @ directions) + NOISE * normal(count, features)
        x[start : start + count] = part.clamp(min=0).cpu().numpy()
    return x


def bfloat16_rate(device: str, size: int = RATE_SIZE, times: int = RATE_TIMES) -> float:
    """Operations per second of a large bfloat16 product: what the device can really do."""
    a = torch.randn(size, size, device=device).to(torch.bfloat16)
    (a @ a.t()).sum().item()
    start = time.perf_counter()
    for _ in range(times):
        b = a @ a.t()
    b.sum().item()  # waits for the device
    return 2 * size**3 * times / (time.perf_counter() - start)


def compare(x: np.ndarray, k: int, device: str, rounds: int) -> list[Timed]:
    """Everybody in turn, and who is wrong."""
    rows = some_rows(len(x), CHECKED)
    reference = truth(x, rows, k, device)
    timed = {name: Timed(name) for name in SEARCHES}
    for search in SEARCHES.values():
        search(x[:WARM_UP], min(k, len(x[:WARM_UP]) - 1), device)
    for number in range(rounds):
        for name, search in SEARCHES.items():
            if not timed[name].failure:
                _once(timed[name], search, x, k, device, reference)
                told = timed[name].failure or f"{timed[name].seconds[-1]:.2f} s"
                typer.echo(f"D = {x.shape[1]:,}, round {number + 1}: {name}: {told}")
    return list(timed.values())


def _once(timed: Timed, search: Search, x: np.ndarray, k: int, device: str, reference: Truth) -> None:
    """One run by the clock; too little memory on the GPU is an outcome, too."""
    start = time.perf_counter()
    try:
        index, distance = search(x, k, device)
    except torch.OutOfMemoryError:
        timed.failure = "out of memory"
        return
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    timed.seconds.append(time.perf_counter() - start)
    index, distance = index[reference.rows], distance[reference.rows]
    wrong = reference.wrong(index, distance) if search is with_dnuc else reference.wrong_set(index)
    timed.wrong = max(timed.wrong, wrong)


def table(timed: list[Timed], n: int, features: int, rate: float) -> str:
    """One number of features: times, how much faster than torch in float32, the share of the GPU's rate."""
    base = next(t for t in timed if t.title == "torch float32 product + topk")
    rows = []
    for t in timed:
        if t.failure or not t.seconds:
            rows.append([t.title, t.failure, "", "", "", "", ""])
            continue
        median = statistics.median(t.seconds)
        faster = f"{statistics.median(base.seconds) / median:.2f}" if base.seconds and not base.failure else ""
        share = f"{n * n * features / median / rate:.0%}"
        times = [f"{s:.2f}" for s in (median, min(t.seconds), max(t.seconds))]
        rows.append([t.title, *times, faster, share, str(t.wrong)])
    head = ["", "seconds", "min", "max", "times as fast as torch float32", "share of bfloat16 rate", "wrong"]
    return f"## {n:,} samples, {features:,} features\n\n{markdown(head, rows)}"


def refusal(device: str, samples: int, features: int) -> str:
    """Why it cannot be measured here; nothing if it can."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        return (
            "torch finds no CUDA GPU here: run it on a machine that has one, or try it with --device cpu --samples 2000"
        )
    needed, there = 4 * samples * features * 1.2, psutil.virtual_memory().available
    if needed > there:
        return (
            f"{samples:,} samples of {features:,} features need {needed / 2**30:.0f} GiB of memory, "
            f"{there / 2**30:.0f} GiB are free: lower --samples or --features"
        )
    return ""


def describe(device: str) -> str:
    """The GPU by its name."""
    if not device.startswith("cuda"):
        return f"none, device = {device}"
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"


def main(
    samples: Annotated[int, typer.Option(min=2, help="N")] = 90_000,
    features: Annotated[list[int] | None, typer.Option(help="D; may be repeated. [default: 16384, 100352]")] = None,
    k: Annotated[int, typer.Option(min=1, help="Neighbors.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each contender runs.")] = 3,
    device: Annotated[str, typer.Option(help="A torch device.")] = "cuda",
    rate_size: Annotated[int, typer.Option(help="Size of the products that measure the rate.")] = RATE_SIZE,
    out: Annotated[Path | None, typer.Option(help="[default on a GPU: docs/results/neighbors_gpu.md]")] = None,
) -> None:
    """dnuc on this machine's GPU, beside torch's float32 product and topk."""
    widths = features or [16_384, 100_352]
    if reason := refusal(device, samples, max(widths)):
        typer.echo(reason, err=True)
        raise typer.Exit(2)
    rate = bfloat16_rate(device, rate_size)
    typer.echo(f"{describe(device)}: bfloat16 products at {rate / 1e12:,.1f} TFLOP/s")
    parts = [
        TEXT.format(
            samples=samples,
            k=k,
            rounds=rounds,
            checked=min(CHECKED, samples),
            gpu=describe(device),
            rate=rate / 1e12,
            size=rate_size,
            machine="\n".join(this_machine().lines()),
        )
    ]
    wrong = 0
    for width in widths:
        timed = compare(generate(samples, width, device), k, device, rounds)
        parts.append(table(timed, samples, width, rate))
        typer.echo("\n" + parts[-1])
        wrong += next(t.wrong for t in timed if t.title == "dnuc")
    write("\n".join(parts), out or (PAGE if device.startswith("cuda") else None))
    if wrong:
        typer.echo(f"WRONG: dnuc has {wrong} wrong rows", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
