"""Training as a stage: one task on one worker, told epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from dask.system import CPU_COUNT

from dnuc.activations.runs import NetworkRun
from dnuc.activations.train import LabeledImages, train
from dnuc.cluster import Cluster, Task, tell
from dnuc.job import Job, Model
from dnuc.location import locate
from dnuc.store import RunStore


def run_training(
    store: RunStore,
    job: Job,
    run: NetworkRun,
    training_data: Callable[[Any], Any],
    n_classes: int,
    cluster: Cluster,
) -> None:
    """Train a network of the job on one worker, unless its weights are there; told epoch by epoch."""
    settings = run.model.train
    if settings is None or run.weights is None or (locate(run.weights).is_file() and _is_recorded(store, run)):
        return
    directory = locate(run.weights).parent
    arguments = (run.model, job.seed, n_classes, str(directory), training_data, cluster.capacity.device)
    task = Task(_train, arguments, name=f"train-{run.model.name}")
    with cluster.progress.stage("training", settings.epochs, "epochs") as stage:

        def show(event: dict[str, Any]) -> None:
            if event["directory"] != str(directory) or event["epoch"] <= stage.done:
                return  # of another run on the same scheduler, or told twice because a worker died
            accuracy = event["test_accuracy"]
            note = f"{run.model.name}: loss {event['loss']:.3f}"
            stage.resume(event["epoch"] - 1 - stage.done)
            stage.advance(note=note if accuracy is None else f"{note}, held-out accuracy {accuracy:.4f}")

        with cluster.listen(show):
            for _, summary in cluster.run([task]):
                store.describe(f"models/{run.model.name}", training=summary)
        stage.advance(settings.epochs - stage.done)  # the last event may still be on its way


def forget_other_training(store: RunStore, run: NetworkRun) -> None:
    """What a training of other settings achieved is nothing that this network can do."""
    group = f"models/{run.model.name}"
    if run.epoch is None and store.attributes(group).get("training") and not _is_recorded(store, run):
        store.describe(group, training=None)


def _is_recorded(store: RunStore, run: NetworkRun) -> bool:
    """Whether what is recorded of the network's training is of just this one, which its directory is named after."""
    summary = store.attributes(f"models/{run.model.name}").get("training")
    if summary is None or run.weights is None:
        return False
    return Path(summary["weights"]).parent.name == Path(run.weights).parent.name


def _train(
    model: Model, seed: int, n_classes: int, directory: str, training_data: Callable[[Any], Any], device: str
) -> dict[str, Any]:
    """On a worker, with all the cores it may use: a training is one task, and nothing else can run beside it."""
    data = training_data(model.train.images if model.train is not None else None)
    before = torch.get_num_threads()
    torch.set_num_threads(CPU_COUNT)
    try:
        return train(
            model,
            LabeledImages(data.train_images, data.train_labels),
            LabeledImages(data.test_images, data.test_labels),
            seed=seed,
            n_classes=n_classes,
            directory=directory,
            device=device,
            progress=lambda entry: tell({**entry, "directory": directory}),
        )
    finally:
        torch.set_num_threads(before)
