"""Layers by name, keyword or glob: which tensors of a network are its representations, and how deep they are.

Keywords:

- `input`: the preprocessed image, as the network receives it (depth 0).
- `output`: what the network returns, named after the module that computes it, e.g. `fc`.
- `checkpoints`: the layers that downsample and the final fully connected ones (`dnuc.activations.rules`).
- `blocks`: the output of every residual, dense, inception or transformer block.

Everything else is the dotted path of a module, or a glob in which `*` stands for one part of the path: `layer3.*`
is every block of ResNet's third stage, `layer3.*.conv?` every convolution in them. A module that runs several times
in one pass has one layer a call: `layer1.0.relu:0`, `layer1.0.relu:1`; without a number all of them are meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch

from dnuc.activations.depth import Record, trace
from dnuc.activations.models import Network
from dnuc.activations.rules import blocks, checkpoints, first_with, matches
from dnuc.errors import LayerError, closest

KEYWORDS = ("input", "checkpoints", "blocks", "output")


@dataclass(frozen=True)
class Layer:
    """One representation of the data: where it is in the network, how deep, and how large.

    Attributes
    ----------
    name : unique in its network, and safe as the name of a directory.
    module : dotted path of the module; "" for the network itself.
    side : whether it is what comes out of that module or what goes into it.
    call : which call of the module in one forward pass, from 0.
    depth : weighted layers on the longest path from the input, and one for the global average pool: ResNet152 has 0
        at the input, 142 at the end of `layer3`, 152 at `avgpool`, 153 at `fc`.
    relative_depth : depth / depth of the output (Ansuini et al. 2019, Fig. 3B).
    features : D, the number of values of one sample, all channels and pixels.
    shape : of one sample before it is flattened.
    aliases : other names of the very same values; `layer1.2` is `layer1`.
    """

    name: str
    module: str
    side: Literal["input", "output"]
    call: int
    depth: int
    relative_depth: float
    features: int
    shape: tuple[int, ...]
    aliases: tuple[str, ...] = ()


def list_layers(network: Network) -> list[Layer]:
    """Every module output of the network, in execution order: what `select_layers` can choose from.

    The first is `input`. Modules that hand on the same values (a stage and its last block) are all listed, each
    with the others as `aliases`.

    Raises
    ------
    LayerError
        If the network cannot process an image of `network.input_shape`.
    """
    return [layer for layer, _ in _traced(network)]


def select_layers(network: Network, wanted: tuple[str, ...]) -> list[Layer]:
    """The wanted layers in execution order, each representation once.

    Where two wanted names mean the same values, the first one written stays.

    Parameters
    ----------
    wanted : keywords, names or globs; see this module's text.

    Raises
    ------
    LayerError
        If a name matches nothing (the closest names are given), or the network has no blocks.
    """
    traced = _traced(network)
    chosen: dict[int, int] = {}  # value -> position in the execution
    for name in wanted:
        for position in _positions(network, traced, name):
            chosen.setdefault(traced[position][1].mark.value, position)
    return [traced[position][0] for position in sorted(chosen.values())]


def _traced(network: Network) -> list[tuple[Layer, Record]]:
    records = _run(network)
    names = _names(records)
    output = records[-1].mark
    same: dict[int, list[str]] = {}
    for name, record in zip(names, records, strict=True):
        same.setdefault(record.mark.value, []).append(name)
    traced = []
    for name, record in zip(names, records, strict=True):
        aliases = tuple(a for a in same[record.mark.value] if a != name)
        traced.append((_layer(name, aliases, record, output.depth), record))
    return traced


def _run(network: Network) -> list[Record]:
    device = next((p.device for p in network.module.parameters()), torch.device("cpu"))
    sample = torch.zeros((2, *network.input_shape), dtype=network.input_dtype, device=device)
    try:
        records = trace(network.module, sample)
    except Exception as error:
        raise LayerError(
            f"{type(network.module).__name__} cannot process an input of shape {network.input_shape}: {error}; "
            "set 'image_size' of the model to what the architecture needs, or check its options"
        ) from error
    if not records or records[-1].module != "" or records[-1].side != "output":
        raise LayerError(
            f"{type(network.module).__name__} does not return a floating-point tensor with one row a sample, "
            "so it has no layers to look at"
        )
    return records


def _names(records: Sequence[Record]) -> list[str]:
    """A unique name a record, safe for a file system."""
    modules = Counter(r.module for r in records if r.side == "output")
    names: list[str] = []
    for record in records:
        name = _name(record, modules)
        if name.endswith("@input") and record.mark.pooled and "avgpool" not in {*modules, *names}:
            name = "avgpool"  # what it is called where it is a module
        names.append(re.sub(r"[^A-Za-z0-9_.@:-]", "_", name))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise LayerError(f"several modules would be stored as {repeated[0]!r}: name them with letters and digits")
    return names


def _name(record: Record, modules: Counter[str]) -> str:
    """The path of the module, with the number of the call where the path alone would be ambiguous."""
    if record.module == "":
        return record.side
    path = record.module if record.side == "output" else f"{record.module}@input"
    several = record.side == "output" and (modules[record.module] > 1 or record.module in KEYWORDS)
    return f"{path}:{record.call}" if several or record.call else path


def _layer(name: str, aliases: tuple[str, ...], record: Record, output_depth: int) -> Layer:
    return Layer(
        name=name,
        module=record.module,
        side="input" if record.side == "input" else "output",
        call=record.call,
        depth=record.mark.depth,
        relative_depth=record.mark.depth / max(output_depth, 1),
        features=prod(record.shape),
        shape=record.shape,
        aliases=aliases,
    )


def _positions(network: Network, traced: Sequence[tuple[Layer, Record]], wanted: str) -> list[int]:
    records = [record for _, record in traced]
    if wanted == "input":
        return [0]
    if wanted == "output":
        return [first_with(records, records[-1].mark.value)]
    if wanted in ("checkpoints", "blocks"):
        found = (checkpoints if wanted == "checkpoints" else blocks)(network.module, records)
        way_out = "dnuc knows none in this architecture; name layers instead, or use a glob"
    else:
        found = [i for i, (layer, _) in enumerate(traced) if _fits(wanted, layer)]
        way_out = closest(wanted, dict.fromkeys([*KEYWORDS, *(layer.name for layer, _ in traced)]))
    if not found:
        raise LayerError(f"layer {wanted!r}: {type(network.module).__name__} has no such layer; {way_out}")
    return found


def _fits(wanted: str, layer: Layer) -> bool:
    return matches(wanted, layer.name) or (layer.side == "output" and matches(wanted, layer.module))
