"""Real-size checks, run by `make check-large`: minutes to hours, gigabytes of disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnuc.cluster import Local
from dnuc.job import parse_job
from dnuc.notebook import Run
from dnuc.pipeline import run_job
from tests import reference

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
