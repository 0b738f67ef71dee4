"""Train a network on the job's own data, resumable to the bit: for data sets that no public weights exist for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dnuc.activations.depth import main_tensor
from dnuc.activations.extract import reproducible
from dnuc.activations.models import Network, build_network
from dnuc.activations.preprocess import Standardize, augment, channel_statistics
from dnuc.activations.resume import TrainingFiles, training_digest
from dnuc.errors import DataError, JobError
from dnuc.job import Model, Train
from dnuc.location import Location, locate

_WARM_UP = 0.2  # share of the training in which the learning rate rises
_BEFORE_TRAINING = 0  # number of the epoch whose random numbers shuffle the labels


class LabeledImages(NamedTuple):
    """Images, (n, h, w, c) uint8 (float32 of 0..255 if they are perturbed), and their labels, (n,) integers from 0."""

    images: np.ndarray
    labels: np.ndarray


def train(
    model: Model,
    training: LabeledImages,
    test: LabeledImages,
    *,
    seed: int,
    n_classes: int,
    directory: str | Location,
    progress: Callable[[dict[str, Any]], None] = lambda entry: None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train the network of a [[model]] table with a [model.train] table, or go on where an earlier call stopped.

    Stochastic gradient descent with Nesterov momentum 0.9 on the cross entropy; the learning rate rises for a fifth
    of the training and then falls to zero along a cosine. With `train.augment`, images are shifted by up to an eighth
    of their size (at most 4 pixels), and mirrored if `train.flip`. With `train.shuffle_labels`, each training image
    gets the label of another one, drawn once by the seed; the test images keep theirs.

    After each epoch everything needed to go on is in `directory`, so that an interrupted training ends with the same
    bits as an uninterrupted one, given the same number of threads (it uses torch's own; `torch.set_num_threads`).
    Files: `final.pt`, `epoch-003.pt` for each epoch in `train.keep` (0 is before training), `resume.pt`.

    Parameters
    ----------
    training, test : images and labels from 0 to n_classes - 1; there may be no test images.
    seed : of the initial weights, the order and the shifts, unless the model has its own.
    n_classes : outputs of the network.
    progress : called after each epoch with that epoch's entry of the summary.
    device : "cpu", "cuda", ...

    Returns
    -------
    `epochs`: a list with, for each epoch, `epoch` (from 1), `epochs`, `loss` (nats) and `train_accuracy` (means over
    the epoch's images as they were trained on), `test_accuracy` (None without test images, and for epochs at which
    they are not looked at: every `train.test_every` epochs they are, at kept ones and at the end), `seconds`;
    and `seconds` in all, `images`: how many were trained on, `untrained_accuracy`: on the test images before training
    if epoch 0 is kept, else None, `weights`: path of the final weights, `kept`: epoch -> path.

    Raises
    ------
    JobError
        If the model has no [model.train] table, or cannot be built.
    DataError
        If images and labels do not fit each other, or the loss is no longer finite.
    StoreError
        If `directory` holds another training.
    """
    if model.train is None:
        raise JobError(f"model {model.name!r} has no [model.train] table: there is nothing to train")
    training = _checked(*training, n_classes, "training", at_least=2)
    test = _checked(*test, n_classes, "test", at_least=0)
    seed = seed if model.seed is None else model.seed
    digest = training_digest(model, seed, n_classes, *training, *test)
    if model.train.shuffle_labels:
        training = training._replace(labels=shuffled(training.labels, seed))
    files = TrainingFiles(locate(directory), digest, channel_statistics(training.images))
    network = build_network(
        model,
        seed=seed,
        n_classes=n_classes,
        image_shape=training.images.shape[1:],
        normalization=files.normalization,
    )
    with reproducible():
        learner = _Learner.of(network, model.train, device)
        untrained = accuracy(network, *test, device) if 0 in model.train.keep else None
        history = _run(learner, training, test, seed, files, progress)
    return {
        "epochs": history,
        "seconds": sum(entry["seconds"] for entry in history),
        "images": len(training.images),
        "untrained_accuracy": untrained,
        "weights": str(files.weights()),
        "kept": {epoch: str(files.weights(epoch)) for epoch in model.train.keep},
    }


def accuracy(
    network: Network, images: np.ndarray, labels: np.ndarray, device: str = "cpu", batch_size: int = 256
) -> float | None:
    """Share of the images, (n, h, w, c), whose label is the network's largest output; None for no images."""
    if len(images) == 0:
        return None
    network.module.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            output = _output(network, images[part], device)
            right += int((output.argmax(1).cpu().numpy() == labels[part]).sum())
    return right / len(images)


def shuffled(labels: np.ndarray, seed: int) -> np.ndarray:
    """The labels in another order, so that they say nothing about the images: each class keeps its size."""
    return np.random.default_rng([seed, _BEFORE_TRAINING]).permutation(labels)


def learning_rate(peak: float, done: float) -> float:
    """The rate when the share `done` (0 to 1) of all steps lies behind: up in a line, down along a cosine.

    >>> [round(learning_rate(0.1, done), 3) for done in (0, 0.1, 0.2, 0.6, 1)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    if done < _WARM_UP:
        return peak * done / _WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))


class _Learner(NamedTuple):
    network: Network
    optimizer: torch.optim.Optimizer
    settings: Train
    device: str

    @classmethod
    def of(cls, network: Network, settings: Train, device: str) -> _Learner:
        module = network.module.requires_grad_(True)
        # On a CPU, channels last trains small images nearly twice as fast.
        module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(
            module.parameters(), settings.learning_rate, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
        )
        return cls(network, optimizer, settings, device)


def _run(
    learner: _Learner,
    training: LabeledImages,
    test: LabeledImages,
    seed: int,
    files: TrainingFiles,
    progress: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Every epoch that is not on disk yet; returns the history of all."""
    module, settings = learner.network.module, learner.settings
    history = files.resume(module, learner.optimizer)
    if not history and 0 in settings.keep:
        files.save_weights(module, 0, files.weights(0))
    for number in range(len(history) + 1, settings.epochs + 1):
        started = time.perf_counter()
        entry = _epoch(learner, training, seed, number)
        looked_at = number % settings.test_every == 0 or number in (*settings.keep, settings.epochs)
        entry["test_accuracy"] = accuracy(learner.network, *test, learner.device) if looked_at else None
        entry["seconds"] = time.perf_counter() - started
        history.append(entry)
        if number in settings.keep:
            files.save_weights(module, number, files.weights(number))
        if number == settings.epochs:
            files.save_weights(module, number, files.weights())
        files.save_state(module, learner.optimizer, history)  # last: it says that the epoch is complete
        progress(entry)
    return history


def _epoch(learner: _Learner, training: LabeledImages, seed: int, number: int) -> dict[str, Any]:
    """One pass over the images in a new order; what is random in it depends on (seed, number) alone."""
    settings, n = learner.settings, len(training.images)
    random = np.random.default_rng([seed, number])
    size = min(settings.batch_size, n)
    steps = n // size  # the images left over are in another epoch's batches
    batches = random.permutation(n)[: steps * size].reshape(steps, size)
    learner.network.module.train()
    losses, hits = [], 0
    with torch.random.fork_rng():
        torch.manual_seed(int(random.integers(2**63)))  # for dropout
        for step, batch in enumerate(batches):
            images = training.images[batch]
            if settings.augment:
                images = augment(images, settings.flip, random)
            done = (number - 1 + (step + 0.5) / steps) / settings.epochs
            loss, right = _step(learner, images, training.labels[batch], done)
            losses.append(loss)
            hits += right
    mean, share = sum(losses) / steps, hits / batches.size
    return {"epoch": number, "epochs": settings.epochs, "loss": mean, "train_accuracy": share}


def _step(learner: _Learner, images: np.ndarray, labels: np.ndarray, done: float) -> tuple[float, int]:
    """One change of the weights when the share `done` of the training is over; the loss, and images told right."""
    for group in learner.optimizer.param_groups:
        group["lr"] = learning_rate(learner.settings.learning_rate, done)
    wanted = torch.from_numpy(labels).to(learner.device)
    output = _output(learner.network, images, learner.device)
    loss = cross_entropy(output, wanted)
    if not torch.isfinite(loss):
        raise DataError(
            f"training: the loss is {loss.item()} when {done:.1%} of the training is done; lower train.learning_rate "
            f"(now {learner.settings.learning_rate})"
        )
    learner.optimizer.zero_grad()
    loss.backward()
    learner.optimizer.step()
    return loss.item(), int((output.argmax(1) == wanted).sum())


def _output(network: Network, images: np.ndarray, device: str) -> Tensor:
    transform = network.transform
    inputs = transform.batch(images) if isinstance(transform, Standardize) else network.preprocess(images)
    inputs = inputs.to(device)
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    output = main_tensor(network.module(inputs))
    if output is None or output.ndim != 2:
        raise JobError("training: the network must return one row of class scores an image, (n, n_classes)")
    return output


def _checked(images: np.ndarray, labels: np.ndarray, n_classes: int, what: str, at_least: int) -> LabeledImages:
    if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
        raise DataError(f"{what} images are {images.dtype} {images.shape}; needed: uint8 (or float32) (n, h, w, c)")
    if len(images) < at_least or labels.shape != (len(images),):
        raise DataError(
            f"{len(images)} {what} images and labels of shape {labels.shape}; needed: one label an image, and at least "
            f"{at_least} images"
        )
    if len(labels) and not (labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < n_classes):
        raise DataError(
            f"{what} labels are {labels.dtype} from {labels.min()} to {labels.max()}; needed: integers from 0 to "
            f"{n_classes - 1}"
        )
    return LabeledImages(images, labels.astype(np.int64))
