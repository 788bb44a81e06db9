"""Handwritten digits: 1,797 labelled images of 8 x 8 pixels, and networks of several sizes."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from compilers.datasets import Data

OUTPUT = "logits"
LABELS = tuple("0123456789")
DARKEST = 16.0
NOISE = 0.05


def data() -> Data:
    """Images [n, 1, 8, 8] in 0 to 1, and the digit each shows."""
    digits = load_digits()
    images = (digits.images / DARKEST).astype(np.float32)[:, None]
    return Data({"image": images}, digits.target.astype(np.int64))


def augment(inputs: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Half of the images shifted by up to one pixel each way, and noise on all."""
    (images,) = inputs
    count, size = len(images), images.shape[-1]
    moved = torch.rand(count, generator=generator) < 0.5
    shifts = torch.randint(0, 3, (count, 2), generator=generator)
    shifts = torch.where(moved[:, None], shifts, torch.ones_like(shifts))
    pixels = torch.arange(size)
    rows = (shifts[:, 0, None] + pixels)[:, :, None]
    columns = (shifts[:, 1, None] + pixels)[:, None, :]
    padded = functional.pad(images, (1, 1, 1, 1))
    shifted = padded[torch.arange(count)[:, None, None], 0, rows, columns][:, None]
    noise = NOISE * torch.randn(shifted.shape, generator=generator)
    return ((shifted + noise).clamp(0, 1),)


def convolution(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    """A convolution and its batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, stride)
        self.second = convolution(outputs, outputs)
        is_plain = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if is_plain else convolution(inputs, outputs, stride, 1)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.second(functional.relu(self.first(images)))
        return functional.relu(hidden + self.shortcut(images))


class ResNet(nn.Module):
    """Stages of blocks, each but the first at half the resolution, and a linear layer."""

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.stem = convolution(1, widths[0])
        layers: list[nn.Module] = []
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(Block(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.blocks = nn.Sequential(*layers)
        self.classify = nn.Linear(inputs, len(LABELS))

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.blocks(functional.relu(self.stem(images)))
        logits: Tensor = self.classify(hidden.mean((2, 3)))
        return logits


def teacher() -> nn.Module:
    return ResNet((96, 192), 2)


def convnet(widths: tuple[int, ...]) -> nn.Module:
    """Strided convolutions and a linear layer on what is left of the image."""
    layers: list[nn.Module] = []
    inputs, size = 1, 8
    for place, width in enumerate(widths):
        stride = 2 if place else 1
        layers += [convolution(inputs, width, stride), nn.ReLU()]
        inputs, size = width, (size - 1) // stride + 1
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * size * size, len(LABELS)))


def perceptron(*widths: int) -> nn.Module:
    """Fully connected layers on the pixels."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = 64
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, len(LABELS)))


def circuit() -> nn.Module:
    """Small enough for every weight to become adders of its own on a chip of a few dollars."""
    return nn.Sequential(
        convolution(1, 8, 2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 16), nn.ReLU(),
        nn.Linear(16, len(LABELS)),
    )  # fmt: skip


MODELS = {
    "teacher": teacher,
    "convnet": lambda: convnet((8, 16)),
    "perceptron": lambda: perceptron(64),
    "linear": perceptron,
    "circuit": circuit,
}
