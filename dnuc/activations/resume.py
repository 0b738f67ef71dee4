"""What a training keeps on disk: weights after chosen epochs, and all that is needed to go on after a kill."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dnuc.activations.weights import Normalization
from dnuc.errors import StoreError
from dnuc.job import Model
from dnuc.location import Location, ObjectPath


@dataclass(frozen=True)
class TrainingFiles:
    """The files of one training; each is written whole or not at all, and is a checkpoint for `build_network`.

    Attributes
    ----------
    directory : where they are.
    digest : of everything the training depends on; see `training_digest`.
    normalization : of the training images; it belongs to the weights.
    """

    directory: Location
    digest: str
    normalization: Normalization

    def weights(self, epoch: int | None = None) -> Location:
        """The weights after an epoch (0: before training), or the final ones."""
        return self.directory / ("final.pt" if epoch is None else f"epoch-{epoch:03d}.pt")

    def save_weights(self, module: nn.Module, epoch: int, path: Location) -> None:
        """Write the weights as they are after `epoch`."""
        self._write(path, module, {"epoch": epoch})

    def save_state(self, module: nn.Module, optimizer: torch.optim.Optimizer, history: list[dict[str, Any]]) -> None:
        """Write what `resume` needs; the number of complete epochs is the length of `history`.

        The state of the random numbers is not among it, because an epoch's depend on the seed and its number alone.
        """
        extra = {"epoch": len(history), "optimizer": optimizer.state_dict(), "history": history, "digest": self.digest}
        self._write(self.directory / "resume.pt", module, extra)

    def resume(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        """Put back the state of the last complete epoch; returns the history up to it, empty for a new training.

        Raises
        ------
        StoreError
            If the directory holds another training, or a damaged file.
        """
        path = self.directory / "resume.pt"
        if not path.is_file():
            return []
        file = io.BytesIO(path.read_bytes()) if isinstance(path, ObjectPath) else path
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
            same = saved["digest"] == self.digest
        except Exception as error:
            raise StoreError(f"{path} is damaged ({error}): remove the directory to train again") from error
        if not same:
            raise StoreError(
                f"{path} is of another training: its settings, seed or images differ from the ones given now. "
                "Remove the directory to train again, or give another one"
            )
        module.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        return list(saved["history"])

    def _write(self, path: Location, module: nn.Module, extra: dict[str, Any]) -> None:
        mean, std = self.normalization
        content = {"model": module.state_dict(), "normalization": {"mean": list(mean), "std": list(std)}, **extra}
        if isinstance(path, ObjectPath):
            buffer = io.BytesIO()
            torch.save(content, buffer)
            path.write_bytes(buffer.getvalue())
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with open(partial, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def training_digest(model: Model, seed: int, n_classes: int, *arrays: np.ndarray) -> str:
    """A hash of everything a training's result depends on: settings, seed, images, labels."""
    settings = model.model_dump_json(include={"architecture", "options", "image_size", "train"})
    digest = hashlib.sha256(f"{settings} {seed} {n_classes}".encode())
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
