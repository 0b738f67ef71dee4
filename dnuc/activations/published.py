"""torchvision's classification networks: published, random or own weights, with the preprocessing they need."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import torchvision.models
from torch import nn
from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models

from dnuc.activations.networks import NETWORKS
from dnuc.activations.preprocess import Preset
from dnuc.activations.weights import FILE_SUFFIXES, Checkpoint, classes_in, is_file, load_weights, why_not
from dnuc.errors import JobError, LayerError, closest
from dnuc.job import Model

Made = TypeVar("Made")
# Training-only classifiers in the middle of these two; their constructors' defaults are kept for old programs.
PLAIN_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch's own variable
_loading = threading.Lock()  # two threads would undo each other's
_AUXILIARY = {"googlenet": ("aux1.",), "inception_v3": ("AuxLogits.",)}


def build(model: Model, seed: int, n_classes: int, checkpoint: Checkpoint | None, outline: bool) -> nn.Module:
    """The network of a torchvision name; see `dnuc.activations.build_network` for parameters and errors."""
    enum = _published(model)
    if enum is not None and checkpoint is None and not outline:
        return _with_options(model, lambda: _downloaded(model, enum))
    arguments = _arguments(model, n_classes, enum, checkpoint, random=checkpoint is None and not outline)

    def make(shapes_only: bool) -> nn.Module:
        name = str(model.architecture)
        return _with_options(model, lambda: seeded(lambda: get_model(name, **arguments), seed, shapes_only))

    if checkpoint is None:
        return make(outline)
    classes = classes_in(checkpoint.state, make(shapes_only=True))
    if classes is not None:
        arguments.setdefault("num_classes", classes)
    module = make(outline)
    if not outline:
        load_weights(module, checkpoint.state, model.weights or model.name)
    return module


def _arguments(
    model: Model, n_classes: int, enum: WeightsEnum | None, checkpoint: Checkpoint | None, random: bool
) -> dict[str, Any]:
    """Keyword arguments of the architecture: the model's options, and what follows from its weights."""
    name = str(model.architecture)
    arguments: dict[str, Any] = {}
    if name in _AUXILIARY:
        heads = checkpoint is not None and any(k.startswith(_AUXILIARY[name]) for k in checkpoint.state)
        arguments |= {"init_weights": random, "aux_logits": heads}
    if name.startswith("vit_"):
        arguments["image_size"] = preset(model).crop_size
    if model.train is not None:
        arguments["num_classes"] = n_classes
    elif enum is not None and checkpoint is None:
        arguments["num_classes"] = len(enum.meta["categories"])
    return arguments | model.options


def concrete(model: Model) -> dict[str, str]:
    """What torchvision's DEFAULT stands for in a model, by setting: a name that a new torchvision may give to others.

    Empty for networks that are not torchvision's, and where the job names the weights itself.

    >>> concrete(Model(name="net", architecture="resnet50", weights="DEFAULT"))
    {'weights': 'IMAGENET1K_V2'}
    >>> concrete(Model(name="net", architecture="resnet50", weights="random"))
    {'preprocessing': 'IMAGENET1K_V2'}
    """
    if model.architecture not in list_models(module=torchvision.models):
        return {}
    default = get_model_weights(model.architecture).DEFAULT.name
    if model.weights == "DEFAULT":
        return {"weights": default}
    return {"preprocessing": default} if _published(model) is None else {}


def published_errors(model: Model) -> dict[str, float] | None:
    """Top-1 and top-5 error of a model's weights on ImageNet's validation images, as torchvision states them.

    Shares, not percent. None for weights that are not published, or of which no accuracy is stated.

    >>> published_errors(Model(name="net", architecture="resnet50", weights="IMAGENET1K_V1"))
    {'top1_error': 0.2387, 'top5_error': 0.07138}
    """
    if model.architecture not in list_models(module=torchvision.models):
        return None
    enum = _published(model)
    stated = enum.meta.get("_metrics", {}).get("ImageNet-1K", {}) if enum is not None else {}
    wanted = {"top1_error": "acc@1", "top5_error": "acc@5"}
    found = {name: round(1 - stated[key] / 100, 6) for name, key in wanted.items() if key in stated}
    return found or None


def preset(model: Model) -> Preset:
    """The preprocessing of the weights a model names, or of its architecture's default ones."""
    enum = _published(model) or get_model_weights(str(model.architecture)).DEFAULT
    published = enum.transforms()
    if model.image_size is None:
        return Preset(published)
    # Resize and crop keep the proportion of the published ones, e.g. 256 to 224.
    resize = round(model.image_size * published.resize_size[0] / published.crop_size[0])
    return Preset(enum.transforms(crop_size=model.image_size, resize_size=resize))


def seeded(make: Callable[[], Made], seed: int, outline: bool) -> Made:
    """What `make` returns when torch's random numbers start at `seed`; the global state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if outline:
            try:
                with torch.device("meta"):
                    return make()
            except NotImplementedError:
                pass  # a constructor that computes with tensors, such as RegNet's, needs real ones
        return make()


def _published(model: Model) -> WeightsEnum | None:
    """The weights enum that a model names; None where it is 'random', a file, or trained by the job."""
    name = str(model.architecture)
    names = list_models(module=torchvision.models)
    if name not in names:
        raise LayerError(
            f"model {model.name!r}: architecture {name!r} is unknown; {closest(name, [*names, *NETWORKS])}; or "
            "'package.module:callable' for a network of your own"
        )
    weights = model.weights
    if weights is None or weights == "random" or is_file(weights):
        return None
    known = get_model_weights(name)
    if weights != "DEFAULT" and weights not in known.__members__:
        allowed = ["DEFAULT", *known.__members__, "random"]
        raise LayerError(
            f"model {model.name!r}: weights {weights!r} of {name!r} are unknown; {closest(weights, allowed)}; or the "
            f"path of a checkpoint file ({', '.join(FILE_SUFFIXES)})"
        )
    return known.DEFAULT if weights == "DEFAULT" else known[weights]


def _downloaded(model: Model, enum: WeightsEnum) -> nn.Module:
    try:
        with _plain_tensors():
            return get_model(str(model.architecture), weights=enum, progress=False, **model.options)
    except (OSError, EOFError, RuntimeError, LookupError, pickle.UnpicklingError) as error:
        if "state_dict" in str(error):
            raise ValueError(f"the published weights {enum.name} are of another shape") from error
        expected = Path(torch.hub.get_dir()) / "checkpoints" / enum.url.rsplit("/", 1)[-1]
        state = "is there, but damaged: remove it" if expected.is_file() else "is not there"
        raise LayerError(
            f"model {model.name!r}: weights {enum.name} of {model.architecture!r} could not be loaded "
            f"({why_not(error)}). The file {expected} {state}. Without a network, copy it there from a machine that "
            "has one (TORCH_HOME moves the directory), on every worker"
        ) from error


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """torch.load reads plain values only, whatever it is told: torchvision has it run what a file in its cache says."""
    with _loading:
        before = os.environ.get(PLAIN_ONLY)
        os.environ[PLAIN_ONLY] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[PLAIN_ONLY]
            else:
                os.environ[PLAIN_ONLY] = before


def _with_options(model: Model, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except (TypeError, ValueError) as error:
        if isinstance(error, LayerError):
            raise
        raise JobError(
            f"model {model.name!r}: options {model.options} do not suit {model.architecture!r}: {error}"
        ) from error
