"""Depth in the papers' count, for any network: one forward pass in which every tensor carries how deep it is.

ResNet152 has its conv4 checkpoint at layer 142 because 142 weighted layers (convolutions, linear maps) lie on the
longest path from the input to it. Counting modules by name would have to know each architecture; here each tensor
function hands on the depth of its deepest argument, and adds one where it is a weighted layer.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_WEIGHTED = {f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)}
_WEIGHTED |= {"linear", "bilinear", "multi_head_attention_forward"}
_PRODUCTS = {"matmul", "__matmul__", "mm", "bmm", "addmm", "einsum"}
_AVERAGES = {f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)} | {"mean"}
# A network in evaluation mode hands these on unchanged, so they do not make a representation of their own.
_UNCHANGED = {"flatten", "reshape", "view", "squeeze", "unsqueeze", "contiguous", "clone", "detach"}
_UNCHANGED |= {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}


class Mark(NamedTuple):
    """What a tensor carries: its depth, which values it holds, and whether those are global averages."""

    depth: int
    value: int
    pooled: bool = False


class Record(NamedTuple):
    """One tensor that went out of a module (or into it), in the order of execution.

    module : dotted path, "" for the network itself; side : "output" or "input"; call : which call of that module;
    kind : the class of the module; shape : of the tensor for one sample; mark : its depth and identity;
    source : the identity of the values the module received.
    """

    module: str
    side: str
    call: int
    kind: type[nn.Module]
    shape: tuple[int, ...]
    mark: Mark
    source: int | None = None


class DepthMode(TorchFunctionMode):
    """While active, every tensor computed from a marked one is marked too.

    Depth counts convolutions, linear maps (also products with a parameter) and multi-head attention, one each, and
    an average over the whole image, one; other pools, norms, activations and additions count nothing. Where paths
    join, the longest counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values = itertools.count()

    def mark_input(self, tensor: Tensor) -> None:
        """Mark the network's input: depth 0."""
        _set_mark(tensor, Mark(0, next(self.values)))

    def mark_after(self, args: Any, tensor: Tensor) -> Mark:
        """Mark what an operation outside torch's functions returned: it is at least as deep as what went in."""
        depths = [m.depth for m in map(mark_of, _tensors(args)) if m is not None]
        mark = Mark(max(depths, default=0), next(self.values))
        _set_mark(tensor, mark)
        return mark

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = list(_tensors((args, kwargs)))
        marks = [m for m in map(mark_of, inputs) if m is not None]
        result = func(*args, **kwargs)
        if marks:
            name = getattr(func, "__name__", "")
            for tensor in _tensors(result):
                _set_mark(tensor, self._next(name, inputs, marks, tensor))
        return result

    def _next(self, name: str, inputs: list[Tensor], marks: list[Mark], result: Tensor) -> Mark:
        if _unchanged(name, inputs[0], marks[0], result):
            return marks[0]
        depth = max(m.depth for m in marks)
        pooled = name in _AVERAGES and _is_global(inputs[0], result)
        product = name in _PRODUCTS and any(isinstance(t, nn.Parameter) for t in inputs)
        return Mark(depth + (name in _WEIGHTED or pooled or product), next(self.values), pooled)


def trace(module: nn.Module, sample: Tensor) -> list[Record]:
    """Every module output of one forward pass, with depth, in execution order.

    A global average that the network takes outside any module is recorded as the input of the module that receives
    it, and so is the input of a linear layer that no module put out: it is the last hidden layer of many networks.
    Outputs that are not one floating-point row a sample are left out.

    Parameters
    ----------
    module : the network, in evaluation mode.
    sample : (2, ...) input; two samples, so that outputs that are not one a sample can be told.
    """
    run = _Trace(len(sample))
    with ExitStack() as handles:
        for path, inner in module.named_modules():
            handles.callback(inner.register_forward_pre_hook(partial(run.before, path)).remove)
            handles.callback(inner.register_forward_hook(partial(run.after, path)).remove)
        with torch.no_grad(), run.mode:
            run.mode.mark_input(sample)
            module(sample)
    return run.records


class _Trace:
    """The records of a forward pass; `before` and `after` are its hooks."""

    def __init__(self, n_samples: int) -> None:
        self.mode = DepthMode()
        self.records: list[Record] = []
        self.n_samples = n_samples
        self.calls: Counter[tuple[str, str]] = Counter()
        self.sources: dict[tuple[str, int], int] = {}

    def before(self, path: str, inner: nn.Module, args: Any) -> None:
        call = self._count(path, "input")
        tensor, mark = main_tensor(args), mark_of(main_tensor(args))
        if tensor is None or mark is None:
            return
        self.sources[path, call] = mark.value
        if any(r.mark.value == mark.value for r in self.records):
            return
        # The network's own input may hold integers, e.g. the tokens of a sentence.
        if path == "" or (self._is_rows(tensor) and (mark.pooled or isinstance(inner, nn.Linear))):
            self._record(path, "input", call, inner, tensor, mark)

    def after(self, path: str, inner: nn.Module, args: Any, output: Any) -> None:
        call = self._count(path, "output")
        tensor = main_tensor(output)
        if tensor is not None and self._is_rows(tensor):
            mark = mark_of(tensor) or self.mode.mark_after(args, tensor)
            self._record(path, "output", call, inner, tensor, mark)

    def _count(self, path: str, side: str) -> int:
        self.calls[path, side] += 1
        return self.calls[path, side] - 1

    def _is_rows(self, tensor: Tensor) -> bool:
        return tensor.is_floating_point() and tensor.ndim >= 2 and len(tensor) == self.n_samples

    def _record(self, path: str, side: str, call: int, inner: nn.Module, tensor: Tensor, mark: Mark) -> None:
        source = self.sources.get((path, call))
        self.records.append(Record(path, side, call, type(inner), tuple(tensor.shape[1:]), mark, source))


def main_tensor(output: Any) -> Tensor | None:
    """The tensor a module's output stands for: itself, or the first tensor in a tuple, list or mapping."""
    return next(_tensors(output), None)


def mark_of(tensor: Tensor | None) -> Mark | None:
    """The mark a tensor carries, if any."""
    return getattr(tensor, "_dnuc_mark", None)


def _set_mark(tensor: Tensor, mark: Mark) -> None:
    tensor._dnuc_mark = mark  # type: ignore[attr-defined]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from itertools.chain.from_iterable(map(_tensors, value.values()))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_tensors, value))


def _unchanged(name: str, before: Tensor, mark: Mark, result: Tensor) -> bool:
    """Whether a function handed on the very values it got."""
    if mark_of(before) != mark or before.numel() != result.numel():
        return False
    if name in _AVERAGES:
        same_size = name.startswith("adaptive") and before.shape == result.shape
        return mark.pooled or (same_size and not _is_global(before, result))
    return name in _UNCHANGED


def _is_global(before: Tensor, result: Tensor) -> bool:
    """Whether an average left one number a channel."""
    if before.ndim < 4:
        return False
    return tuple(result.shape[:2]) == tuple(before.shape[:2]) and result.numel() == before.shape[0] * before.shape[1]
