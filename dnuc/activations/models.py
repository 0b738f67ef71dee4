"""Networks by name: torchvision's, dnuc's own small ones, and anyone's, with weights and preprocessing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dnuc.activations import published
from dnuc.activations.networks import NETWORKS, check_options
from dnuc.activations.preprocess import Standardize
from dnuc.activations.weights import (
    Checkpoint,
    Normalization,
    as_checkpoint,
    classes_in,
    is_file,
    load_weights,
    read_checkpoint,
)
from dnuc.errors import DataError, JobError, LayerError, closest
from dnuc.job import Model

Transform = Callable[[np.ndarray], Tensor]


@dataclass
class Network:
    """A network ready to look at: evaluation mode, no gradients, and the preprocessing that belongs to it.

    Attributes
    ----------
    module : the network.
    transform : one image, uint8 (h, w, c), to the tensor (C, H, W) that the network takes.
    input_shape : (C, H, W), for one sample.
    input_dtype : float32 for images.
    """

    module: nn.Module
    transform: Transform
    input_shape: tuple[int, ...]
    input_dtype: torch.dtype = torch.float32

    def preprocess(self, images: Iterable[np.ndarray]) -> Tensor:
        """Images, each uint8 (h, w, c), as one tensor (n, C, H, W)."""
        return torch.stack([self.transform(image) for image in images])


def build_network(
    model: Model,
    *,
    seed: int,
    n_classes: int,
    image_shape: tuple[int, int, int],
    state: Mapping[str, Any] | None = None,
    normalization: Normalization | None = None,
    outline: bool = False,
) -> Network:
    """The network of a [[model]] table.

    Random weights, and the initial ones of [model.train], depend on the seed alone and leave torch's global random
    state as it was. A torchvision network is preprocessed as its published weights ask (those named, otherwise its
    DEFAULT ones); `image_size` replaces their crop, the resize in proportion. dnuc's own networks get values of
    0..1, normalized; `module:callable` may return its own transform, else it gets the same.

    Parameters
    ----------
    model : architecture, weights, options, image_size. For 'module:callable', weights 'DEFAULT' and 'random' both
        leave the weights that the callable returns, made with the seed.
    seed : of random weights, unless the model has its own.
    n_classes : outputs of a network that is trained here, and of dnuc's own networks.
    image_shape : (h, w, c) of an image of the data, in pixels.
    state : weights to use instead of `model.weights`: the content of a file that training saved, or a state dict.
    normalization : mean and standard deviation of each channel, of values in 0..1; a checkpoint's own come first.
    outline : shapes only, on torch's meta device: no memory, no download. `list_layers` works on it.

    Raises
    ------
    LayerError
        If the architecture or weights are unknown (the closest names are given), or a file is missing, refused,
        or of another network.
    JobError
        If the options do not suit the architecture, or 'module:callable' cannot be imported or called.
    DataError
        If images of this shape cannot be preprocessed.
    """
    if model.architecture is None:
        raise JobError(f"model {model.name!r} has 'arrays', not a network: there is nothing to build")
    seed = seed if model.seed is None else model.seed
    checkpoint = _checkpoint(model, state)
    if checkpoint is not None and checkpoint.normalization is not None:
        normalization = checkpoint.normalization
    standardize = Standardize.of(normalization, model.image_size)
    if model.architecture in NETWORKS:
        module = _own(model, seed, n_classes, image_shape, checkpoint, outline)
        transform: Transform = standardize
    elif ":" in model.architecture:
        module, transform = _imported(model, seed, checkpoint, standardize)
    else:
        module = published.build(model, seed, n_classes, checkpoint, outline)
        transform = published.preset(model)
    module.eval().requires_grad_(False)
    sample = _preprocessed(transform, image_shape, model)
    return Network(module, transform, tuple(sample.shape), sample.dtype)


def _checkpoint(model: Model, state: Mapping[str, Any] | None) -> Checkpoint | None:
    if state is not None:
        return as_checkpoint(state, f"of model {model.name}")
    return read_checkpoint(model.weights) if model.weights is not None and is_file(model.weights) else None


def _own(
    model: Model,
    seed: int,
    n_classes: int,
    image_shape: tuple[int, int, int],
    checkpoint: Checkpoint | None,
    outline: bool,
) -> nn.Module:
    name = str(model.architecture)
    if checkpoint is None and model.weights not in (None, "random"):
        raise LayerError(
            f"model {model.name!r}: weights {model.weights!r} of {name!r} do not exist; give a [model.train] table "
            "to train it, 'random', or the path of a checkpoint file (.pt, .pth)"
        )
    check_options(name, model.options)
    height, width, channels = image_shape
    size = (height, width) if model.image_size is None else (model.image_size, model.image_size)

    def make(classes: int, shapes_only: bool) -> nn.Module:
        network = NETWORKS[name]
        return published.seeded(lambda: network(classes, channels, size, **model.options), seed, shapes_only)

    if checkpoint is not None:
        n_classes = classes_in(checkpoint.state, make(n_classes, shapes_only=True)) or n_classes
    module = make(n_classes, outline)
    if checkpoint is not None and not outline:
        load_weights(module, checkpoint.state, model.weights or model.name)
    return module


def _imported(
    model: Model, seed: int, checkpoint: Checkpoint | None, standardize: Transform
) -> tuple[nn.Module, Transform]:
    if checkpoint is None and model.weights not in (None, "random", "DEFAULT"):
        raise LayerError(
            f"model {model.name!r}: weights {model.weights!r} are unknown to {model.architecture!r}; use 'DEFAULT' for "
            "what it returns, 'random', or the path of a checkpoint file (.pt, .pth)"
        )
    factory = _callable(str(model.architecture))
    try:
        made = published.seeded(lambda: factory(**model.options), seed, outline=False)
    except Exception as error:
        raise JobError(
            f"model {model.name!r}: {model.architecture}({model.options}) failed: {type(error).__name__}: {error}"
        ) from error
    module, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, standardize)
    if not isinstance(module, nn.Module) or not callable(transform):
        raise JobError(
            f"model {model.name!r}: {model.architecture} returned {type(made).__name__}; it must return a "
            "torch.nn.Module, or a module and a function from a uint8 image (h, w, c) to a tensor (C, H, W)"
        )
    if checkpoint is not None:
        load_weights(module, checkpoint.state, model.weights or model.name)
    return module, transform


def _callable(architecture: str) -> Callable[..., Any]:
    module_name, _, name = architecture.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise JobError(
            f"architecture {architecture!r}: cannot import {module_name!r} ({error}); install it, or put its directory "
            "on PYTHONPATH, here and on every worker"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise JobError(
            f"architecture {architecture!r}: {module_name!r} has no callable {name!r}; {closest(name, public)}"
        )
    return found


def _preprocessed(transform: Transform, image_shape: tuple[int, int, int], model: Model) -> Tensor:
    try:
        sample = transform(np.zeros(image_shape, dtype=np.uint8))
    except Exception as error:
        raise DataError(
            f"model {model.name!r}: an image of shape {image_shape} (h, w, c) cannot be preprocessed: {error}"
        ) from error
    if not isinstance(sample, Tensor):
        raise JobError(f"model {model.name!r}: the transform returned {type(sample).__name__}, not a torch tensor")
    return sample
