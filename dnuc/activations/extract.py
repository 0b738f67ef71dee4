"""Activations of many layers in one pass: the same bits whatever batch or block a sample is in."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dnuc.activations.depth import main_tensor
from dnuc.activations.layers import Layer
from dnuc.activations.models import Network
from dnuc.errors import DataError, LayerError

_ONE_AT_A_TIME = threading.RLock()


def extract(
    network: Network,
    layers: Sequence[Layer],
    images: Tensor | Iterable[Tensor],
    device: str | torch.device = "cpu",
    *,
    batch_size: int = 64,
    threads: int = 1,
    count: int | None = None,
) -> dict[str, np.ndarray]:
    """The representations of preprocessed images in every layer: one forward pass, raw values, fully flattened.

    A sample's values do not depend on the samples beside it, nor on how many are asked for at a time. Kernels do
    depend on the size of the batch and on the number of threads (a linear layer adds up in another order for 8
    samples than for 64), so every pass has exactly `batch_size` images, the last filled up with repeats, and
    `threads` threads: more of them change the last bits, and so does another `batch_size`. One extraction runs at a
    time in a process; for speed use more processes, not more threads.

    Parameters
    ----------
    network, layers : from `build_network` and `select_layers`.
    images : (n, C, H, W), as `network.preprocess` makes them; or batches of them, of `batch_size` images but for the
        last, made while the network works on earlier ones.
    device : "cpu", "cuda", ...; the network is moved there.
    batch_size : images in one forward pass.
    threads : of torch, on the CPU.
    count : images in all batches, where batches are given.

    Returns
    -------
    For each layer's name, (n, D) float32 with D = C * H * W of that layer.

    Raises
    ------
    DataError
        If the images do not have the network's input shape, or batches are not of the size or number said.
    LayerError
        If a layer does not run in this network.
    """
    if isinstance(images, Tensor):
        count, batches = len(images), iter(images.split(batch_size))
    else:
        batches = iter(images)
    if not count:
        raise DataError(f"{count} images to extract: needs at least 1, and their number where batches are given")
    values = {layer.name: np.empty((count, layer.features), dtype=np.float32) for layer in layers}
    captured: dict[str, Tensor] = {}
    with reproducible(threads), _hooks(network.module, layers, captured), torch.inference_mode():
        network.module.to(device)
        for start in range(0, count, batch_size):
            n = min(batch_size, count - start)
            batch = _checked_batch(next(batches, None), n, network.input_shape)
            captured.clear()
            network.module(_filled(batch, batch_size).to(device))
            for layer in layers:
                values[layer.name][start : start + n] = _rows(captured, layer, batch_size)[:n]
    return values


def _checked_batch(batch: Tensor | None, n: int, shape: tuple[int, ...]) -> Tensor:
    if batch is None or tuple(batch.shape) != (n, *shape):
        given = "no images" if batch is None else f"images of shape {tuple(batch.shape)}"
        raise DataError(f"{given}: needs (n, C, H, W) = {(n, *shape)}, as `network.preprocess` makes them")
    return batch


def _filled(batch: Tensor, batch_size: int) -> Tensor:
    """A copy with exactly so many images, by repeating them, that a network may overwrite.

    In one layout: convolutions choose another kernel for pixels that lie in another order.
    """
    if len(batch) < batch_size:
        batch = batch[torch.arange(batch_size) % len(batch)]
    return batch.clone(memory_format=torch.contiguous_format)


def check_finite(values: np.ndarray, layer: str, ids: Sequence[str]) -> None:
    """Refuse values that are NaN or infinite: no distance to such a sample means anything.

    Parameters
    ----------
    values : (n, D) activations of one layer; ids : of the n samples.

    Raises
    ------
    DataError
        Naming the layer and the samples.
    """
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        raise DataError(
            f"layer {layer!r}: NaN or infinite activations in {len(broken)} of {len(values)} samples: "
            f"{_some(broken, ids)}. Check the weights and the preprocessing, or leave these samples out"
        )


def to_storage(
    values: np.ndarray, dtype: Literal["float32", "float16", "float64"], layer: str, ids: Sequence[str]
) -> np.ndarray:
    """Activations as they are stored, every value finite.

    float16 halves the disk space, rounds to 11 significant bits, and ends at 65504.

    Parameters
    ----------
    values : (n, D) float32 activations of one layer; ids : of the n samples.

    Raises
    ------
    DataError
        If a value is NaN or infinite, or too large for `dtype`; naming the layer and the samples.

    >>> to_storage(np.array([[1.0, 2.5]], dtype=np.float32), "float16", "fc", ["a"])
    array([[1. , 2.5]], dtype=float16)
    """
    check_finite(values, layer, ids)
    with np.errstate(over="ignore"):
        stored = values.astype(dtype, copy=False)
    broken = np.flatnonzero(~np.isfinite(stored).all(axis=1))
    if len(broken):
        raise DataError(
            f"layer {layer!r}: values up to {np.abs(values).max():.6g} do not fit into {dtype}, which ends at "
            f'{np.finfo(dtype).max:.6g}; samples {_some(broken, ids)}. Set activations.dtype = "float32"'
        )
    return stored


@contextmanager
def reproducible(threads: int | None = None) -> Iterator[None]:
    """While active, torch computes the same bits every time: fixed threads and kernels, full float32 precision.

    torch's settings belong to the process, and hooks to the network, so one such computation runs at a time; others
    in the same process wait.
    """
    with _ONE_AT_A_TIME, ExitStack() as restore:
        restore.enter_context(
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        )
        restore.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("highest")
        # Transformers skip the modules inside them on a fast path that is taken only where there are no hooks.
        restore.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        if threads is not None:
            restore.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        yield


@contextmanager
def _hooks(module: nn.Module, layers: Sequence[Layer], captured: dict[str, Tensor]) -> Iterator[None]:
    """While active, every forward pass leaves a copy of each layer's tensor in `captured`."""
    calls: dict[tuple[str, str], int] = {}

    def keep(path: str, side: str, wanted: dict[int, str], value: Any) -> None:
        call = calls[path, side] = calls[path, side] + 1
        tensor = main_tensor(value)
        if call in wanted and tensor is not None:
            # A copy: a ReLU that works in place would overwrite what is kept.
            captured[wanted[call]] = tensor.detach().to(torch.float32, copy=True)

    def restart(*_: Any) -> None:
        calls.update({(layer.module, layer.side): -1 for layer in layers})

    with ExitStack() as handles:
        handles.callback(module.register_forward_pre_hook(restart).remove)
        for path, side in dict.fromkeys((layer.module, layer.side) for layer in layers):
            wanted = {x.call: x.name for x in layers if (x.module, x.side) == (path, side)}
            inner = _submodule(module, path)
            if side == "input":
                hook = inner.register_forward_pre_hook(lambda m, a, p=path, w=wanted: keep(p, "input", w, a))
            else:
                hook = inner.register_forward_hook(lambda m, a, o, p=path, w=wanted: keep(p, "output", w, o))
            handles.callback(hook.remove)
        yield


def _submodule(module: nn.Module, path: str) -> nn.Module:
    try:
        return module.get_submodule(path)
    except AttributeError:
        raise LayerError(
            f"module {path!r} is not in {type(module).__name__}: its layers are of another network"
        ) from None


def _rows(captured: dict[str, Tensor], layer: Layer, batch_size: int) -> np.ndarray:
    tensor = captured.get(layer.name)
    if tensor is None:
        raise LayerError(f"layer {layer.name!r} did not run in the forward pass: list the layers of this network again")
    rows = tensor.reshape(batch_size, -1)
    if rows.shape[1] != layer.features:
        raise LayerError(
            f"layer {layer.name!r} has {rows.shape[1]} values a sample, expected {layer.features}: "
            "list the layers of this network again"
        )
    return rows.cpu().numpy()


def _some(positions: np.ndarray, ids: Sequence[str]) -> str:
    shown = ", ".join(str(ids[i]) for i in positions[:5])
    return f"{shown}, ... ({len(positions)} in all)" if len(positions) > 5 else shown
