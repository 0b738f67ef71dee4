"""What is searched: a table of sizes and data, each made from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

CLUSTERS, LATENT = 100, 100
ROWS = 1000  # made at once, whole, so that the first samples do not depend on how many follow
WITHIN, NOISE = 0.75, 0.70  # standard deviation of a feature along the latent directions, and of its own noise


def activations(n: int, features: int, seed: int = 0) -> np.ndarray:
    """Samples like the output of a ReLU, (N, D) float32: clustered, not negative, half of the values 0.

    ReLU of center + latent variation + noise. At N = 20,000 and D = 4,096 the 100th neighbor is at 1.09 times the norm
    of a sample (medians, the mean subtracted): neither trivially clustered nor without structure. The first samples are
    the same for every N.
    """
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((CLUSTERS, features), dtype=np.float32)
    directions = rng.standard_normal((LATENT, features), dtype=np.float32) / np.float32(np.sqrt(LATENT))
    x = np.empty((n, features), dtype=np.float32)
    for start in range(0, n, ROWS):
        rng = np.random.default_rng((seed, start))
        part = NOISE * rng.standard_normal((ROWS, features), dtype=np.float32)
        part += WITHIN * (rng.standard_normal((ROWS, LATENT), dtype=np.float32) @ directions)
        part += centers[rng.integers(0, CLUSTERS, ROWS)]
        x[start : start + ROWS] = np.maximum(part, 0)[: n - start]
    return x


def pixels(n: int, features: int, seed: int = 0) -> np.ndarray:
    """The first n training images of Fashion-MNIST, (N, 784) float32; DnucError without its files."""
    from dnuc.data.fashion import SYSTEM_PATH, find_file, read_idx

    images = read_idx(find_file(SYSTEM_PATH, "train-images-idx3-ubyte"), 3)
    return images.reshape(len(images), -1)[:n, :features].astype(np.float32)


# Who takes part (contenders.py). "dnuc-*" stands for every precision that dnuc has.
SPEED = ("dnuc", "dnuc-*", "faiss", "sklearn", "dadapy")
FLOORS = ("product-float32", "product-float32-half", "product-bfloat16-half", "product-int8-half")
CLUSTER = ("cluster-one", "cluster-workers", "cluster-threads")
GROWTH = ("dnuc", "faiss")


@dataclass(frozen=True)
class Problem:
    """Find the k nearest neighbors of each of n samples; `contenders` are those that are asked to."""

    name: str
    kind: str
    make: Callable[[int, int, int], np.ndarray]
    n: int
    features: int
    contenders: tuple[str, ...]
    k: int = 100
    seed: int = 0

    def data(self) -> np.ndarray:
        """The samples, (N, D) float32."""
        return self.make(self.n, self.features, self.seed)

    @property
    def title(self) -> str:
        """How tables call it."""
        return f"{self.kind}: {self.n:,} samples, {self.features:,} features"

    def quick(self) -> Problem:
        """The same in a size that takes no time, to see that everything works."""
        return replace(self, n=self.n // 50, features=min(self.features, 96), k=10)


PROBLEMS = (
    # growth with N: the exponent of the time from the first three, of which the third is the main problem
    Problem("activations-5k", "Generated activations", activations, 5_000, 4_096, GROWTH),
    Problem("activations-10k", "Generated activations", activations, 10_000, 4_096, GROWTH),
    # the main problem: a middle layer, everybody
    Problem("activations-20k", "Generated activations", activations, 20_000, 4_096, (*SPEED, *FLOORS, *CLUSTER)),
    # twice as many samples: does the lead grow?
    Problem("activations-40k", "Generated activations", activations, 40_000, 4_096, GROWTH),
    # real pixels, full of ties; few features, so that selection weighs more
    Problem(
        "pixels-60k",
        "Fashion-MNIST pixels",
        pixels,
        60_000,
        784,
        ("dnuc", "faiss", "sklearn", "product-bfloat16-half"),
    ),
    # fewer features still: selection dominates
    Problem(
        "narrow-82k",
        "Generated activations",
        activations,
        82_000,
        384,
        ("dnuc", "faiss", "sklearn", "product-bfloat16-half"),
    ),
)
MAIN = "activations-20k"
GROWING = ("activations-5k", "activations-10k", "activations-20k")
