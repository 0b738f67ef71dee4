"""Weights on disk: reading checkpoint files without running code from them, and fitting them to a network."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dnuc.errors import LayerError
from dnuc.location import ObjectPath, locate

Normalization = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation a channel, of values in 0..1
FILE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
_NESTED = ("state_dict", "model", "model_state_dict")
# torchvision's DenseNet files are older than its module names, which may no longer contain a dot.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")


class Checkpoint(NamedTuple):
    """Weights by name, and how the images were normalized in training where the file says so."""

    state: dict[str, Tensor]
    normalization: Normalization | None = None


def is_file(weights: str) -> bool:
    """Whether the 'weights' of a model are a checkpoint file, rather than a name."""
    return Path(weights).suffix in FILE_SUFFIXES or Path(weights).is_file()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The weights in a .pt or .pth file: a state dict, or a dict that holds one as 'state_dict' or 'model'.

    Only tensors and plain values are read, never code: a pickle can run anything when it is opened.

    Raises
    ------
    LayerError
        If the file is missing, damaged, holds more than plain values, or no weights.
    """
    return as_checkpoint(load_tensors(path), str(path))


def load_tensors(path: str | Path) -> Any:
    """What a file that torch.save wrote holds, if that is tensors and plain values alone; see `read_checkpoint`."""
    try:
        found = locate(path)
        file = io.BytesIO(found.read_bytes()) if isinstance(found, ObjectPath) else path
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise LayerError(f"weights {str(path)!r}: no such file") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise LayerError(
            f"weights {str(path)!r} refused: dnuc opens files of plain tensors only, because a pickled object can run "
            f"code when it is opened, and this file is damaged or holds something else ({why_not(error)}). Save it "
            "again with torch.save(module.state_dict(), path)"
        ) from None


def why_not(error: Exception) -> str:
    """The reason in a message of torch.load, without its advice to open the file all the same."""
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"GLOBAL (\S+)", str(error))
        return "it holds more than plain tensors" + (f": {found[1]}" if found else ", or is damaged")
    return str(error).strip().partition("\n")[0]


def as_checkpoint(content: Any, where: str) -> Checkpoint:
    """The weights in what was loaded from `where`; see `read_checkpoint`."""
    normalization = None
    state = content
    if isinstance(content, Mapping):
        saved = content.get("normalization")
        normalization = None if saved is None else (tuple(saved["mean"]), tuple(saved["std"]))
        state = next((content[key] for key in _NESTED if isinstance(content.get(key), Mapping)), content)
    tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)} if isinstance(state, Mapping) else {}
    if not tensors:
        raise LayerError(
            f"weights {where!r}: no tensors by name in it (found {type(content).__name__}); expected a state dict, "
            f"or a dict that holds one as {' or '.join(map(repr, _NESTED))}"
        )
    return Checkpoint({_current_name(k, tensors): v for k, v in tensors.items()}, normalization)


def classes_in(state: Mapping[str, Tensor], shapes: nn.Module) -> int | None:
    """How many classes weights were trained for: the rows of the network's last tensor; None if they lack it."""
    last = state.get(next(reversed(shapes.state_dict())))
    return None if last is None else len(last)


def load_weights(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a network, all of them or none.

    Raises
    ------
    LayerError
        If names are missing or left over, or a shape differs; the first ones are listed.
    """
    own = module.state_dict()
    # Counters of batches are absent from old files and mean nothing outside training.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [k for k in state if k not in own]
    reshaped = [
        f"{k} is {tuple(state[k].shape)}, needs {tuple(own[k].shape)}"
        for k in own if k in state and state[k].shape != own[k].shape
    ]  # fmt: skip
    if missing or unknown or reshaped:
        lists = {"missing": missing, "not in the network": unknown, "of another shape": reshaped}
        found = "; ".join(f"{len(v)} {k}: {', '.join(v[:3])}{' ...' if v[3:] else ''}" for k, v in lists.items() if v)
        raise LayerError(
            f"weights {where!r} do not fit {type(module).__name__} ({len(own)} tensors): {found}. "
            "Check 'architecture' and 'options' (e.g. num_classes)"
        )
    module.load_state_dict(dict(state), strict=False)


def _current_name(name: str, names: Mapping[str, Tensor]) -> str:
    parallel = all(n.startswith("module.") for n in names)
    return _OLD_DENSENET.sub(r"\1\2.", name.removeprefix("module.") if parallel else name)
