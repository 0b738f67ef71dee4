"""All of ImageNet's classes through the whole pipeline, run by `make check-large`: 1000 directories of 5 JPEGs each."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from PIL import Image

from dnuc import wordnet_taxonomy
from dnuc.notebook import Run
from tests.benchmarks.resident import watch
from tests.benchmarks.scale_data import wnids

IMAGES, SIZE, K = 5, 64, 10
GRID = (6, 8, 3)  # of the colors that are blown up to an image
LAYERS = {"input": 3 * SIZE * SIZE, "layer2": 128 * 8 * 8, "layer4": 512 * 2 * 2, "avgpool": 512, "fc": 1000}


def make_images(root: Path, classes: list[str]) -> None:
    """ImageNet's layout. A concept has the colors of the concept above it, a little changed; so has an image."""
    taxonomy, random = wordnet_taxonomy(classes), np.random.default_rng(0)
    colors = np.full((len(taxonomy.parent), *GRID), 128.0)
    for node in range(1, len(colors)):
        colors[node] = colors[taxonomy.parent[node]] + random.normal(0, 60 * 0.8 ** taxonomy.depth[node], GRID)
    for wnid, node in zip(classes, taxonomy.leaf, strict=True):
        directory = root / wnid
        directory.mkdir(parents=True)
        for i in range(IMAGES):
            pixels = np.clip(colors[node] + random.normal(0, 6, GRID), 0, 255).astype(np.uint8)
            image = Image.fromarray(pixels).resize((120, 90), Image.Resampling.BICUBIC)
            image.save(directory / f"{wnid}_{i}.JPEG", quality=90)


def write_job(directory: Path) -> Path:
    job = {
        "name": "thousand",
        "data": {
            "source": "image_folder",
            "path": "train",
            "samples": 1000 * IMAGES,
            "taxonomy": "wordnet",
            "macro_roots": ["animal.n.01", "artifact.n.01"],
        },
        "model": [
            {
                "name": "resnet18",
                "architecture": "resnet18",
                "weights": "random",
                "image_size": SIZE,
                "layers": list(LAYERS),
            }
        ],
        "neighbors": {"k": K},
        "measures": {"overlap_k": [IMAGES - 1, K]},
        "landscape": {"k": K},
    }
    path = directory / "job.toml"
    path.write_text(tomli_w.dumps(job), encoding="utf-8")
    return path


@pytest.mark.large
@pytest.mark.cluster
@pytest.mark.wordnet
def test_a_thousand_classes_of_imagenet(tmp_path):
    classes = wnids()
    make_images(tmp_path / "train", classes)
    job, place = write_job(tmp_path), tmp_path / "place.toml"
    place.write_text('kind = "local"\nworkers = 2\nmemory = "3GB"\n')
    command = [sys.executable, "-m", "dnuc", "run", str(job), "--on", str(place), "--out", str(tmp_path / "run")]
    watched = watch(command, tmp_path / "run")
    run = Run(tmp_path / "run")
    _check_manifest(run, classes)
    for layer in LAYERS:
        _check_neighbors(run, layer)
    _check_results(run, classes)
    stages = ", ".join(f"{stage['name']} {stage['seconds']:.0f} s" for stage in watched.stages)
    print(f"{watched.seconds:.0f} s ({stages}), at most {watched.peak / 1e9:.2f} GB in all processes")
    print(run.layers.T.to_string())


def _check_manifest(run: Run, classes: list[str]) -> None:
    samples = run.samples
    assert samples["id"].tolist() == [f"{wnid}/{wnid}_{i}.JPEG" for wnid in sorted(classes) for i in range(IMAGES)]
    assert samples["label"].tolist() == np.repeat(np.arange(1000), IMAGES).tolist()
    assert samples["hash"].nunique() == 1000 * IMAGES
    assert run.label_names[:2] == ["tench", "goldfish"]
    assert set(samples["macro_name"]) == {"animal", "artifact", ""}
    assert (samples["macro_name"] == "animal").sum() == 398 * IMAGES


def _check_neighbors(run: Run, layer: str) -> None:
    """Lists of some samples, against the direct distances to all."""
    x = run.array("activations", "activation", layer).astype(np.float64)
    assert x.shape == (1000 * IMAGES, LAYERS[layer])
    found = run.neighbors(layer)
    for row in np.random.default_rng(1).choice(len(x), 4, replace=False).tolist():
        distance = np.sqrt(((x - x[row]) ** 2).sum(axis=1))
        distance[row] = np.inf
        np.testing.assert_array_equal(found.index[row], np.argsort(distance, kind="stable")[:K])
        np.testing.assert_allclose(found.distance[row], distance[found.index[row]], rtol=1e-12)


def _check_results(run: Run, classes: list[str]) -> None:
    layers, expected = run.layers.set_index("layer"), wordnet_taxonomy(sorted(classes))
    assert layers.index.tolist() == list(LAYERS)
    assert (layers["label_overlap"] > 100 / 1000).all()  # of random neighbors a thousandth
    assert (layers["macro_overlap"] > layers["label_overlap"]).all()
    assert layers["intrinsic_dimension"].between(1, 200).all()
    for layer in LAYERS:
        levels = run.taxonomy_levels(layer)
        assert levels["depth"].tolist() == list(expected.levels)
        assert levels["n_groups"].tolist() == [len(np.unique(expected.level(d))) for d in expected.levels]
        assert levels["n_groups"].iloc[-1] == 1000
        landscape = run.landscape(layer)
        assert landscape.n_peaks == layers.loc[layer, "n_peaks"] > 1
        assert np.bincount(landscape.labels).sum() == 1000 * IMAGES
    assert layers.loc["input", "taxonomy_correlation"] > 0.3  # the images were made so
    assert layers.loc["input", "taxonomy_p_value"] < 0.01
    page = (run.path / "report" / "index.html").read_text()
    assert "5,000 of 1,000 classes" in page
    for figure in ("fig2a", "fig4a", "fig4b", "fig4c", "taxonomy"):
        assert (run.path / "report" / "figures" / f"{figure}.png").stat().st_size > 10_000
