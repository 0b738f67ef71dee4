"""Which layers are checkpoints, and which modules are blocks, in any architecture.

Doimo et al. 2020, Sec. 2.3: checkpoints are "the layers that downsample the channels and the final fully connected
layers". A fully connected layer that others follow is taken after its activation, as the next one receives it:
that is what Ansuini et al. 2019 call d1 and d2, and what the block outputs of a ResNet are too. (Its raw values
have a name of their own, e.g. `classifier.0` where `classifier.1` is the ReLU.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import prod

from torch import nn
from torchvision.models import AlexNet, DenseNet, GoogLeNet, ResNet

from dnuc.activations.depth import Record
from dnuc.activations.networks import ResidualNetwork

# Where "the layers that downsample" alone would miss what the papers plot, or add the first convolution to it:
# ResNet's stage 1 keeps the size of the max pool, DenseNet's last stage is not followed by a transition.
_STAGES: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (ResNet, ("maxpool", "layer?")),
    (DenseNet, ("features.pool0", "features.transition?", "features.norm5")),
    (GoogLeNet, ("maxpool?",)),
    (AlexNet, ("features.2", "features.5", "features.12")),
    (ResidualNetwork, ("stage?",)),
)
_BLOCK = re.compile(r"Block|Bottleneck|Residual(?!Network)|Inception(?!Aux|3)|MBConv|Fire|EncoderLayer|DecoderLayer")


def checkpoints(network: nn.Module, records: Sequence[Record]) -> list[int]:
    """Positions in `records` of the checkpoint layers: stages first, then the fully connected end.

    ResNet: max pool, the end of each of the four stages, average pool, `fc`. DenseNet: first pool, transitions, last
    norm, average pool, `classifier`. VGG, AlexNet, GoogLeNet: max pools, then the fully connected layers. `residual`:
    stage ends, average pool, `fc`. Any other architecture: the outermost module around each step that at least
    halves the image, then the fully connected layers; and where there are fewer than two such steps, as in vision
    transformers, the blocks.
    """
    for family, patterns in _STAGES:
        if isinstance(network, family):
            return [i for p in patterns for i in _outputs_of(p, records)] + _fully_connected(records)
    steps = _halvings(network, records)
    stages = [_outermost(network, records, step, steps) for step in steps]
    if len(steps) < 2:
        stages += blocks(network, records)
    return stages + _fully_connected(records)


def blocks(network: nn.Module, records: Sequence[Record]) -> list[int]:
    """Positions in `records` of the output of every block.

    A block is an outermost module whose class is named like one: BasicBlock, Bottleneck, InvertedResidual, MBConv,
    Inception, Fire, EncoderBlock, SwinTransformerBlock, TransformerEncoderLayer, ... For DenseNet it is the whole
    dense block: its layers only append channels, and there are up to 98 of them.
    """
    paths: list[str] = []
    for path, module in network.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in paths)
        if path and not inside and _BLOCK.search(type(module).__name__):
            paths.append(path)
    return [i for i, r in enumerate(records) if r.module in paths and r.side == "output"]


def matches(pattern: str, path: str) -> bool:
    """Whether a dotted path fits a glob, part by part: `*` does not reach across a dot.

    >>> matches("layer3.*", "layer3.7"), matches("layer3.*", "layer3.7.conv1")
    (True, False)
    """
    wanted, parts = pattern.split("."), path.split(".")
    return len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))


def first_with(records: Sequence[Record], value: int) -> int:
    """Position of the first record that holds these values: the innermost module that computes them."""
    return next(i for i, r in enumerate(records) if r.mark.value == value)


def _outputs_of(pattern: str, records: Sequence[Record]) -> list[int]:
    return [i for i, r in enumerate(records) if r.side == "output" and matches(pattern, r.module)]


def _fully_connected(records: Sequence[Record]) -> list[int]:
    """What each linear layer after the last image-shaped output receives, and what the last one puts out."""
    last_image = max((i for i, r in enumerate(records) if len(r.shape) >= 3), default=0)
    linear = [
        i for i, r in enumerate(records)
        if i > last_image and r.side == "output" and issubclass(r.kind, nn.Linear) and len(r.shape) == 1
    ]  # fmt: skip
    received = (records[i].source for i in linear)
    hidden = [value for value in received if value is not None and value != records[0].mark.value]
    return [first_with(records, value) for value in hidden] + linear[-1:]


def _halvings(network: nn.Module, records: Sequence[Record]) -> list[int]:
    """Positions of innermost modules whose output has at most half the pixels of everything before it.

    A single pixel does not count: it is the global average, or a gate inside a squeeze-and-excitation block.
    """
    steps, smallest = [], None
    for i, record in enumerate(records):
        pixels = _pixels(record.shape)
        container = record.side == "output" and any(network.get_submodule(record.module).children())
        if pixels <= 1 or container:
            continue
        if smallest is not None and 2 * pixels <= smallest:
            steps.append(i)
        smallest = pixels if smallest is None else min(smallest, pixels)
    return steps


def _pixels(shape: tuple[int, ...]) -> int:
    """Pixels of an image-shaped output, channels first or (Swin) last; 0 for any other."""
    if len(shape) < 3:
        return 0
    channels_last = len(shape) == 3 and shape[0] == shape[1] != shape[2]
    return prod(shape[:-1] if channels_last else shape[1:])


def _outermost(network: nn.Module, records: Sequence[Record], step: int, steps: Sequence[int]) -> int:
    """Position of the output of the largest module around a halving step that contains no other one."""
    parts = records[step].module.split(".")
    for length in range(1, len(parts)):
        path = ".".join(parts[:length])
        if sum(f"{records[s].module}.".startswith(f"{path}.") for s in steps) == 1:
            return next((i for i in _outputs_of(path, records) if i > step), step)
    return step
