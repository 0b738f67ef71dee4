"""Real-size checks, run by `make check-large`: minutes to hours, gigabytes of disk."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from PIL import Image

from dnuc.cluster import Local, Progress, connect
from dnuc.job import NeighborSearch, parse_job
from dnuc.neighbors.lists import stored_neighbors
from dnuc.neighbors.stage import LayerSearch, run_neighbors
from dnuc.notebook import Run
from dnuc.pipeline import run_job
from dnuc.store import RunStore, stage_group
from tests import reference
from tests.conftest import local_cluster

CLASSES, IMAGES = 20, 10
WORKER_MEMORY = "5GB"
# the papers' count of layers, and C x H x W at 224 x 224
RESNET152 = [
    ("input", 0, 150_528),
    ("maxpool", 1, 200_704),
    ("layer1", 10, 802_816),
    ("layer2", 34, 401_408),
    ("layer3", 142, 200_704),
    ("layer4", 151, 100_352),
    ("avgpool", 152, 2_048),
    ("fc", 153, 1_000),
]


def make_images(root: Path) -> None:
    """A directory in ImageNet's layout: each class a smooth color pattern, each image a noisy variant of it."""
    rng = np.random.default_rng(0)
    for c in range(CLASSES):
        directory = root / f"n{c:08d}"
        directory.mkdir(parents=True)
        coarse = rng.uniform(40, 215, size=(6, 8, 3))
        for i in range(IMAGES):
            pattern = np.clip(coarse + rng.normal(0, 25, coarse.shape), 0, 255).astype(np.uint8)
            image = Image.fromarray(pattern).resize((400, 300), Image.Resampling.BICUBIC)
            image.save(directory / f"n{c:08d}_{i}.JPEG", quality=90)


@pytest.mark.large
@pytest.mark.cluster
def test_resnet152_passes_layers_of_802816_features_in_bounded_memory(tmp_path):
    make_images(tmp_path / "images")
    job = parse_job(
        {
            "name": "resnet152",
            "data": {"source": "image_folder", "path": str(tmp_path / "images")},
            "model": [{"name": "resnet152", "architecture": "resnet152", "weights": "random"}],
            "neighbors": {"k": 5},
            "activations": {"batch_size": 16},
        }
    )
    run = Run(run_job(job, Local(workers=2, memory=WORKER_MEMORY), tmp_path / "run", quiet=True))
    layers = run.layers
    assert list(zip(layers["layer"], layers["depth"], layers["features"], strict=True)) == RESNET152
    for name, _, features in RESNET152:
        x = run.store.array(f"models/resnet152/{name}/activations", "activation")
        assert x.shape == (CLASSES * IMAGES, features)
        subset = np.asarray(x[:40, :])
        index, distance = reference.nearest_neighbors(subset, 3)
        found = run.neighbors(name)
        inside = [[j for j in row if j < 40][:1] for row in found.index[:40]]
        for i, first in enumerate(inside):  # the nearest of all that is in the subset is the nearest in the subset
            if first:
                assert first[0] == index[i, 0]
                rank = list(found.index[i]).index(first[0])
                np.testing.assert_allclose(found.distance[i, rank], distance[i, 0], rtol=1e-12)
    state = json.loads((run.path / "progress.json").read_text())
    assert state["state"] == "finished"
    print(layers[["layer", "features", "seconds_activations", "seconds_neighbors", "intrinsic_dimension"]].to_string())


MEMORY = {
    # layer, samples, features, bytes of a worker: what must fit although the activations do not
    "wide": (4_000, 802_816, "3GB"),  # 12 GB of activations
    "many": (300_000, 64, "2GiB"),
}


def store_wave(store: RunStore, group: str, n: int, features: int, rows: int = 500) -> None:
    """Activations of low intrinsic dimension, written a row block at a time."""
    basis = np.random.default_rng(0).standard_normal((24, features), dtype=np.float32)
    store.declare(group, "activation", (n, features), (rows, 8192))
    for first in range(0, n, rows):
        latent = np.random.default_rng(first + 1).standard_normal((min(rows, n - first), 24), dtype=np.float32)
        store.write(
            group, "activation", (slice(first, first + len(latent)), slice(None)), np.maximum(latent @ basis, 0)
        )


@pytest.mark.large
@pytest.mark.cluster
@pytest.mark.parametrize("name", MEMORY)
def test_workers_stay_within_their_memory(name, tmp_path):
    n, features, memory = MEMORY[name]
    store = RunStore.create(tmp_path / "run")
    store_wave(store, stage_group("net", name, "activations"), n, features)
    with connect(Local(workers=2, memory=memory), Progress(store.path, quiet=True)) as cluster:
        run_neighbors(store, [LayerSearch("net", name, "d")], NeighborSearch(k=30), cluster)
        peaks = cluster.client.run(peak_bytes)
        limit = cluster.client.scheduler_info(n_workers=-1)["workers"].popitem()[1]["memory_limit"]
    print(f"{name}: at most {max(peaks.values()) / 2**30:.2f} of {limit / 2**30:.2f} GiB a worker")
    assert max(peaks.values()) < limit
    found = stored_neighbors(store, "net", name)
    x = store.array(stage_group("net", name, "activations"), "activation")
    rows = np.sort(np.random.default_rng(0).choice(n, 3, replace=False))
    distance = np.zeros((3, n))
    for first in range(0, n, 500):
        for chunk in range(0, features, 2**17):
            part = x[first : first + 500, chunk : chunk + 2**17].astype(np.float64)
            for i, row in enumerate(rows):
                own = x[int(row) : int(row) + 1, chunk : chunk + 2**17].astype(np.float64)
                distance[i, first : first + 500] += ((part - own) ** 2).sum(axis=1)
    for i, row in enumerate(rows):
        distance[i, row] = np.inf
        order = np.lexsort((np.arange(n), distance[i]))[:30]
        assert set(order) == set(found.index[row])
        np.testing.assert_allclose(np.sqrt(distance[i][order]), found.distance[row], rtol=1e-12)


@pytest.mark.large
@pytest.mark.cluster
def test_dimensions_of_a_layer_that_does_not_fit_stay_within_the_memory_of_workers(tmp_path):
    """3.2 GB of activations, of which a task may hold a tenth: blocks, classes and principal components."""
    n, features = 4_000, 200_704
    job = parse_job(
        {
            "name": "dimensions",
            "data": {"source": "arrays", "labels": "labels.npy"},
            "model": [{"name": "net", "arrays": {"wide": "wide.zarr/models/net/wide/activations/activation"}}],
            "dimension": {"decimation": True, "per_class": True, "pca": True, "pca_samples": 1000},
        },
        base=tmp_path,
    )
    np.save(tmp_path / "labels.npy", np.arange(n) % 20)
    store_wave(RunStore.create(tmp_path / "wide.zarr"), stage_group("net", "wide", "activations"), n, features)
    with local_cluster(workers=2, memory="3GB") as cluster, Client(cluster, set_as_default=False) as client:
        run = Run(run_job(job, cluster.scheduler_address, tmp_path / "run", quiet=True))
        peaks = client.run(peak_bytes)
    print(f"at most {max(peaks.values()) / 1e9:.2f} of 3 GB a worker")
    assert max(peaks.values()) < 3e9
    profile = run.dimension_profile("wide")
    assert profile[profile["method"] == "decimation"]["blocks"].tolist() == [1, 2, 4, 8, 16, 32, 64]
    assert profile["value"].between(12, 26).all()  # 24 variables
    assert run.layers[["class_dimension", "pca_dimension"]].notna().all(axis=None)
    print(profile.to_string(), run.layers.T.to_string(), sep="\n")


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
