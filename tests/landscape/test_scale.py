"""Density peaks of a million samples: that the problem is answered right when small, and memory when large."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dnuc.landscape import density_peaks
from tests import reference
from tests.landscape.scale import DENSITIES, measure, neighbors_of

IMAGENET = 1_281_167
LARGEST = 8e9  # bytes
# Seconds of DADApy 0.3.4's compute_clustering_ADP with the same neighbors and densities, on a busy machine of 2 cores.
DADAPY = {
    (20_000, "kNN, k = 100"): 0.1,
    (20_000, "kNN, k = 8"): 1.2,
    (20_000, "PAk"): 1.0,
    (60_000, "kNN, k = 100"): 1.5,
    (60_000, "kNN, k = 8"): 38,
    (60_000, "PAk"): 70,
    (200_000, "kNN, k = 100"): 17,
}


@pytest.mark.parametrize("name", DENSITIES)
def test_the_problem_is_answered_as_the_plain_loops_do(name):
    neighbors = neighbors_of(250)
    density = DENSITIES[name](neighbors)
    found = density_peaks(neighbors, density)
    labels, centers, core, _ = reference.density_peaks(
        neighbors.index, density.log_density, density.error, density.k, 1.65, "dadapy"
    )
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.centers, centers)
    np.testing.assert_array_equal(found.core, core)


def test_what_is_measured():
    for row in measure(400):
        assert row["raw_peaks"] >= row["peaks"] >= 1
        assert row["bytes"] > 1e7


@pytest.mark.large
@pytest.mark.parametrize("n", [20_000, 60_000, 200_000, IMAGENET])
def test_a_million_samples_stay_within_memory(n):
    """In a process of its own, whose peak is only this."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.landscape.scale", str(n)], check=True, capture_output=True, text=True
    )
    rows = json.loads(ran.stdout)
    for row in rows:
        theirs = DADAPY.get((n, row["density"]), "not measured")
        print(
            f"{row['samples']:>9,} samples, {row['density']:<12} density {row['seconds_density']:6.2f} s, peaks "
            f"{row['seconds_peaks']:6.2f} s (DADApy {theirs}), {row['raw_peaks']:,} raw and {row['peaks']:,} peaks, "
            f"at most {row['bytes'] / 1e9:.2f} GB with the neighbors"
        )
    assert max(row["bytes"] for row in rows) < LARGEST
    if n == IMAGENET:
        assert max(row["raw_peaks"] for row in rows) > 30_000
