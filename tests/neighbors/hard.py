"""Data that are built to break fast arithmetic, by what is bad about them. Every entry makes an array."""

import numpy as np

from tests import synthetic


def two_sides(n, features):
    """Half of the samples near +0.1, half near -0.1: shifting helps nobody, and every product rounds the same way."""
    side = np.where(np.arange(n) % 2, 0.1, -0.1)[:, None]
    return side * (1 + 1e-6 * synthetic.normal(n, features))


def circle(n, radius):
    """Samples in a plane, none closer to another than two others are."""
    angle = 2 * np.pi * np.arange(n) ** 2 / (n + 0.5)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def tight_cluster(n, features):
    """Samples that differ in their last bits, and a few far ones that pull the mean away from them."""
    x = (3 + 1e-6 * synthetic.normal(n, features)).astype(np.float32)
    x[:3] = 1000 * synthetic.normal(3, features, seed=1)
    return x


def trained_classes(n=170, features=40, classes=2):
    """The last layer of a trained network: classes whose samples are a thousandth of their center's norm apart."""
    return synthetic.clustered(n, features, classes, spread=1e-3 / np.sqrt(2)).astype(np.float32)


def long_and_short(n, features):
    """Clusters of long rows among a few short rows: a product that is lost makes the short ones look nearest."""
    return np.concatenate([3 * synthetic.clustered(n - n // 4, features), synthetic.normal(n // 4, features, seed=5)])


def constant_rows(n, features):
    """Rows of one value each, three samples of each value."""
    return np.repeat(np.arange(n // 3, dtype=float)[:, None], features, axis=1)[np.arange(n) % (n // 3)]


# Each is compared with the loops of tests/reference.py.
ADVERSARIAL = {
    "nothing special": lambda: synthetic.normal(97, 11),
    "clusters": lambda: synthetic.clustered(97, 23),
    "tight classes of a trained network": trained_classes,
    "offset 1e4 on every feature": lambda: synthetic.offset(80, 40),
    "near-duplicates at 1e-7": lambda: synthetic.near_duplicates(60, 30),
    "near-duplicates, stored as float32": lambda: synthetic.near_duplicates(60, 30).astype(np.float32),
    "three copies of everything": lambda: synthetic.duplicated(75, 9),
    "lattice full of ties": lambda: synthetic.lattice(120, 4),
    "more ties than a list holds": lambda: synthetic.lattice(150, 3, values=2),
    "one feature 1e6 times larger": lambda: synthetic.one_large_feature(80, 20),
    "heavy-tailed and not negative": lambda: synthetic.heavy_tailed(90, 50),
    "constant rows": lambda: constant_rows(60, 6),
    "all samples equal": lambda: np.ones((40, 3)),
    "all samples 0": lambda: np.zeros((40, 3), np.float32),
    "float16": lambda: synthetic.normal(70, 33).astype(np.float16),
    "integers": lambda: synthetic.lattice(70, 5, values=50).astype(np.int64),
    "bool": lambda: synthetic.lattice(70, 12, values=2).astype(bool),
    "two samples": lambda: synthetic.normal(2, 5),
    "one feature": lambda: synthetic.normal(101, 1),
    "one feature, ties": lambda: synthetic.lattice(101, 1, values=20),
    "many features, few samples": lambda: synthetic.heavy_tailed(30, 20_000),
    "many features, tiny values": lambda: 1e-26 * long_and_short(80, 9000),
    "differences that vanish in float32": lambda: 1 + 1e-12 * synthetic.normal(50, 8),
    "squares that underflow in float32": lambda: 1e-30 * synthetic.normal(50, 8),
    "squares that overflow in float32": lambda: 1e30 * synthetic.normal(50, 8),
    "values that overflow in float32": lambda: 1e50 * synthetic.normal(50, 8),
    "a tight cluster beside outliers": lambda: tight_cluster(60, 7),
    "norms from 1e-4 to 1e4": lambda: synthetic.normal(60, 20) * np.logspace(-4, 4, 60)[:, None],
    "products that overflow when doubled": lambda: circle(40, 1.6e19).astype(np.float32),
    "the largest float32": lambda: (3.4e38 * np.sign(synthetic.normal(40, 5))).astype(np.float32),
    "squares close to the end of float64": lambda: 1e152 * synthetic.normal(40, 5),
    "squares that underflow in float64": lambda: 1e-170 * synthetic.lattice(40, 3, values=9).astype(np.float64),
    "denormal numbers": lambda: 1e-310 * synthetic.lattice(30, 4, values=9).astype(np.float64),
}

# Rows whose rounding and whose products are hard to bound: 40 of each, so that all pairs are checked.
ROWS = {
    "large norms, all positive": lambda: (np.abs(synthetic.normal(40, 3000)) + 100).astype(np.float32),
    "norms from 1e-3 to 1e3": lambda: (synthetic.normal(40, 500) * np.logspace(-3, 3, 40)[:, None]).astype(np.float32),
    "near-duplicates": lambda: synthetic.near_duplicates(40, 2000).astype(np.float32),
    "near-duplicates, as float64": lambda: synthetic.near_duplicates(40, 2000),
    "one large feature": lambda: synthetic.one_large_feature(40, 300).astype(np.float32),
    "heavy tails": lambda: synthetic.heavy_tailed(40, 1000),
    "tight classes": lambda: trained_classes(40, 200),
    "two sides": lambda: two_sides(40, 1024).astype(np.float32),
    "two sides, more than a chunk": lambda: two_sides(40, 9000).astype(np.float32),
    "two sides, as float64": lambda: two_sides(40, 3000),
    "always the same rounding": lambda: 1 + 2.0**-24 + 2.0**-23 * synthetic.lattice(40, 4096, seed=3),
    "halves of the last bit of bfloat16": lambda: 1 + 2.0**-8 * synthetic.lattice(40, 333, values=4),
    "powers of two": lambda: np.ldexp(1.0, synthetic.lattice(40, 64, values=40).astype(int) - 20).astype(np.float32),
    "products that underflow": lambda: (1e-21 * synthetic.normal(40, 100)).astype(np.float32),
    "products that underflow over chunks": lambda: (1e-26 * long_and_short(40, 9000)).astype(np.float32),
    "denormal float32": lambda: (1e-44 * synthetic.normal(40, 100)).astype(np.float32),
    "numbers that underflow": lambda: 1e-44 * synthetic.normal(40, 100),
    "squares that underflow in float64": lambda: 1e-170 * synthetic.normal(40, 30),
    "denormal float64": lambda: 1e-310 * synthetic.normal(40, 30),
    "as large as bfloat16 may be": lambda: circle(40, 6e18).astype(np.float32),
    "equal samples": lambda: np.full((40, 100), 1 / 3, np.float32),
    "rows of zeros": lambda: np.where(np.arange(40)[:, None] % 3, 0, synthetic.normal(40, 50)).astype(np.float32),
    "one feature": lambda: (1 + 1e-6 * synthetic.normal(40, 1)).astype(np.float32),
    "one feature, as float64": lambda: synthetic.normal(40, 1),
    "15 features": lambda: synthetic.normal(40, 15).astype(np.float32),
    "17 features": lambda: synthetic.normal(40, 17).astype(np.float32),
    "1000 features": lambda: synthetic.normal(40, 1000),
}
