"""Small networks for data sets that no public weights exist for: deep enough that layers tell a story.

Both take images from 8 x 8 to about 64 x 64 and train on a laptop. Every ReLU is a module of its own, so that
every activation has a name, and none works in place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from dnuc.errors import JobError, closest


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a parameter-free shortcut (He et al. 2016, Sec. 4.2, option A)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu2 = nn.ReLU()
        self.stride = stride
        self.added = channels_out - channels_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))  # (n, channels_out, h / stride, w / stride)
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """The block's input, subsampled and with channels of zeros added where the block changes the shape."""
        if self.stride == 1 and self.added == 0:
            return x
        half = self.added // 2
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.added - half))


class ResidualNetwork(nn.Module):
    """The residual network that `residual` builds."""

    def __init__(self, n_classes: int, channels: int, size: tuple[int, int], width: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        smaller = _strides(min(size))
        self.stage1 = _stage(width, width, 1, blocks)
        self.stage2 = _stage(width, 2 * width, smaller[0], blocks)
        self.stage3 = _stage(2 * width, 4 * width, smaller[1], blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.avgpool(x).flatten(1))


class ConvolutionalNetwork(nn.Module):
    """The convolutional network that `convolutional` builds."""

    def __init__(self, n_classes: int, channels: int, size: tuple[int, int], width: int, hidden: int) -> None:
        super().__init__()
        last = [((side - 2) // 2 - 2) // 2 for side in size]
        # Without padding an 8 x 8 image has nothing left after the second pooling.
        padding = 0 if min(last) >= 2 else 1
        rows, columns = last if padding == 0 else [side // 4 for side in size]
        self.conv1 = nn.Conv2d(channels, width, 3, padding=padding)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=padding)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(2 * width * rows * columns, hidden)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(hidden, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        return self.fc2(self.relu3(self.fc1(x.flatten(1))))


def residual(
    n_classes: int, channels: int, size: tuple[int, int], *, width: int = 16, blocks: int = 3
) -> ResidualNetwork:
    """A residual network of the CIFAR kind: a 3 x 3 convolution, three stages of blocks, average pool, `fc`.

    With the default 3 blocks a stage it has 9 blocks and 20 weighted layers (ResNet-20). Stages 2 and 3 halve the
    image and double the channels, but never shrink it below 2 x 2.

    Parameters
    ----------
    n_classes : outputs of `fc`.
    channels, size : channels and (height, width) of the input image, in pixels.
    width : channels of the first stage.
    blocks : residual blocks a stage.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, Sec. 4.2.

    >>> import torch
    >>> residual(10, 1, (8, 8))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    return ResidualNetwork(n_classes, channels, size, width, blocks)


def convolutional(
    n_classes: int, channels: int, size: tuple[int, int], *, width: int = 32, hidden: int = 128
) -> ConvolutionalNetwork:
    """The small convolutional network whose intrinsic dimension Ansuini et al. follow on MNIST (Sec. 3.4, Fig. 6).

    Two 3 x 3 convolutions of 32 and 64 channels, without padding, each with ReLU and 2 x 2 max pooling; a fully
    connected layer of 128 units with ReLU; the output: 28 x 28 images give 1600 features after the second pooling.
    `pool1`, `pool2`, `relu3` and `fc2` are the pool1, pool2, d1 and output of the paper. The convolutions are
    padded by one pixel where less than 2 x 2 would be left (images smaller than 18 pixels); like the authors' own
    program it has no dropout, and the output is the logits, not their log-softmax.

    Parameters
    ----------
    n_classes : outputs of `fc2`.
    channels, size : channels and (height, width) of the input image, in pixels.
    width : channels of the first convolution; the second has twice as many.
    hidden : units of the fully connected layer.

    References
    ----------
    Ansuini, Laio, Macke, Zoccolan, "Intrinsic dimension of data representations in deep neural networks",
    NeurIPS 2019.

    >>> convolutional(10, 1, (28, 28)).fc1.in_features
    1600
    """
    return ConvolutionalNetwork(n_classes, channels, size, width, hidden)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"residual": residual, "convolutional": convolutional}


def check_options(architecture: str, options: dict[str, Any]) -> None:
    """Refuse options that `residual` or `convolutional` does not have, or that are not positive whole numbers.

    Raises
    ------
    JobError
        Naming the option, what was given, and what is allowed.
    """
    parameters = inspect.signature(NETWORKS[architecture]).parameters.values()
    allowed = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for name, value in options.items():
        if name not in allowed:
            raise JobError(f"options.{name}: network {architecture!r} has no such option; {closest(name, allowed)}")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise JobError(f"options.{name} = {value!r}: network {architecture!r} needs a whole number, at least 1")


def _stage(channels_in: int, channels_out: int, stride: int, blocks: int) -> nn.Sequential:
    first = ResidualBlock(channels_in, channels_out, stride)
    return nn.Sequential(first, *(ResidualBlock(channels_out, channels_out, 1) for _ in range(blocks - 1)))


def _strides(side: int) -> tuple[int, int]:
    """Strides of stages 2 and 3 that leave at least two pixels of `side`."""
    first = 2 if side >= 4 else 1
    second = 2 if side // first >= 4 else 1
    return first, second
