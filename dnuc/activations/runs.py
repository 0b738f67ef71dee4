"""Which networks a job looks at, which layers of each, and what their activations depend on."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dnuc.activations.layers import Layer, select_layers
from dnuc.activations.models import build_network
from dnuc.activations.published import concrete, published_errors
from dnuc.activations.weights import is_file
from dnuc.errors import DataError, ResourceError
from dnuc.job import Activations, Job, Model
from dnuc.location import Location
from dnuc.store import digest, open_external

FEATURES_A_CHUNK = 8192  # stored together: what the neighbor search reads at once
MOST_ROWS = 4096
FEWEST_BLOCKS = 16  # so that a small data set still keeps several workers busy


@dataclass(frozen=True)
class NetworkRun:
    """One network of the run: a [[model]] table, or one kept epoch of its training."""

    name: str
    model: Model
    weights: str | None = None  # file that training writes
    epoch: int | None = None  # None: the final weights

    @property
    def origin(self) -> Literal["arrays", "network", "training"]:
        """Where its activations are from: given arrays, a network that exists, or one that the job trains."""
        if self.model.arrays is not None:
            return "arrays"
        return "network" if self.model.train is None else "training"


def runs_in(job: Job, directory: Location = Path(), samples_digest: str = "") -> list[NetworkRun]:
    """Every network of a job in order; kept epochs of a training come before its end.

    Trained weights are looked for in the run's `directory`; they are of the samples of this digest.
    """
    runs = []
    for model in job.model:
        if model.train is None:
            runs.append(NetworkRun(model.name, model))
            continue
        weights = directory / "models" / model.name / f"weights-{_training_digest(model, job, samples_digest)}"
        for epoch in sorted(model.train.keep):
            runs.append(NetworkRun(f"{model.name}@{epoch}", model, str(weights / f"epoch-{epoch:03d}.pt"), epoch))
        runs.append(NetworkRun(model.name, model, str(weights / "final.pt")))
    return runs


def describe_network(run: NetworkRun) -> dict[str, Any]:
    """How a network of the run was made, as plain values: what `Results.models_table` tells."""
    model, train = run.model, run.model.train
    weights = model.weights
    if weights is not None and is_file(weights):
        weights = Path(weights).name
    return {
        "origin": run.origin,
        "architecture": model.architecture,
        "options": model.options,
        "weights": "trained" if train is not None else weights,
        "of": model.name,
        "epoch": run.epoch,
        "shuffled": train is not None and train.shuffle_labels,
        "published": published_errors(model),
    }


def _training_digest(model: Model, job: Job, samples_digest: str) -> str:
    """What trained weights depend on: another training writes to another directory."""
    settings = _settings(model, exclude={"name", "layers"})
    return digest("training", settings, job.data.model_dump(mode="json"), job.seed, samples_digest)


def outline(run: NetworkRun, job: Job, image_shape: tuple[int, int, int], n_classes: int) -> list[dict[str, Any]]:
    """The wanted layers of a network, in order, as plain values; nothing is loaded or downloaded."""
    if run.model.arrays is not None:
        return _array_layers(run.model)
    network = build_network(run.model, seed=job.seed, n_classes=n_classes, image_shape=image_shape, outline=True)
    return [_plain(layer) for layer in select_layers(network, run.model.layers)]


def _plain(layer: Layer) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(layer).items()}


def _array_layers(model: Model) -> list[dict[str, Any]]:
    """Layers that something else computed: their order in the job is their depth."""
    arrays = model.arrays or {}
    last = max(1, len(arrays) - 1)
    found = []
    for position, (name, path) in enumerate(arrays.items()):
        shape = open_external(path).shape
        place = {"depth": position, "relative_depth": position / last}
        found.append({"name": name, "module": str(path), **place, "features": int(np.prod(shape[1:]))})
    return found


def check_rows(run: NetworkRun, n: int, unreadable: int = 0) -> None:
    """Refuse (DataError) given arrays that do not have a row a sample; `unreadable` samples may yet be left out."""
    for name, path in (run.model.arrays or {}).items():
        count = open_external(path).shape[0]
        if not n - unreadable <= count <= n:
            raise DataError(
                f"model {run.name!r}, layer {name!r}: {path} has {count} rows for {n} samples: all layers and the "
                "labels must hold the same samples in the same order"
            )


def rounded_arrays(run: NetworkRun, settings: Activations) -> list[tuple[str, str]]:
    """Given arrays (layer, type) whose values do not all survive being stored in the job's type."""
    types = {layer: open_external(path).dtype for layer, path in (run.model.arrays or {}).items()}
    return [(layer, str(t)) for layer, t in types.items() if not np.can_cast(t, settings.dtype)]


def rows_of_block(n: int, features: list[int], memory: int, settings: Activations) -> int:
    """Samples of one extraction task: whole batches, as many as memory and parallelism allow.

    Raises
    ------
    ResourceError
        If the activations of one batch do not fit.
    """
    batch = settings.batch_size
    itemsize = max(4, np.dtype(settings.dtype).itemsize)
    row_bytes = itemsize * (sum(features) + 2 * max(features))  # all layers, and the largest while it is written
    most = memory // row_bytes
    setting = "batch_size" if settings.block is None else "block"
    rows = batch if settings.block is None else min(-(-settings.block // batch), -(-n // batch)) * batch
    if most < rows:
        raise ResourceError(
            f"one block of {rows} samples needs {rows * row_bytes / 2**20:.0f} MiB for all layers, a task may use "
            f"{memory / 2**20:.0f} MiB: give workers more memory, or lower activations.{setting} to {max(1, most)}"
        )
    if settings.block is not None:
        return rows
    while 2 * rows <= min(MOST_ROWS, most, -(-n // FEWEST_BLOCKS)):
        rows *= 2
    return rows


def stored_bytes(n: int, features: int, rows: int, dtype: str) -> int:
    """Bytes on disk of the activations of a layer: whole chunks, of which the last of each direction are padded.

    >>> stored_bytes(100, 8193, rows=64, dtype="float32") == 128 * 16384 * 4
    True
    """
    shape = ((n, min(rows, n)), (features, min(features, FEATURES_A_CHUNK)))
    padded = [-(-length // chunk) * chunk for length, chunk in shape]
    return padded[0] * padded[1] * np.dtype(dtype).itemsize


def network_digest(run: NetworkRun, job: Job, samples_digest: str) -> str:
    """What a network's activations depend on, apart from the layer."""
    model = _settings(run.model, exclude={"name", "layers", "arrays"})
    if model["train"] is not None:
        model["train"].pop("keep")
    weights = run.model.weights
    seen = _file_digest(Path(weights)) if weights is not None and Path(weights).is_file() else None
    batch = None if run.model.arrays else job.activations.batch_size
    return digest("activations", model, run.epoch, seen, job.seed, job.activations.dtype, batch, samples_digest)


def _settings(model: Model, exclude: set[str]) -> dict[str, Any]:
    """A model's settings, with what torchvision means by DEFAULT today: tomorrow that may be other weights."""
    return model.model_dump(mode="json", exclude=exclude) | concrete(model)


def _file_digest(path: Path) -> list[Any]:
    """A checkpoint by its content; a large array by its size and time of change."""
    if path.suffix in (".pt", ".pth"):
        return [hashlib.sha256(path.read_bytes()).hexdigest()]
    if not path.exists():
        raise DataError(f"array {str(path)!r}: no such file or directory")
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    return [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files]


def layer_digest(key: str, run: NetworkRun, layer: dict[str, Any]) -> str:
    """What a layer's activations depend on; `key` is the network's digest."""
    arrays = run.model.arrays
    file = None if arrays is None else _file_digest(arrays[layer["name"]])
    return digest(key, layer["name"], layer["module"], layer.get("call"), layer["features"], file)
