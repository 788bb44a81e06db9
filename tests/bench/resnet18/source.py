"""ResNet-18 as published, on scikit-learn's digits enlarged to 64 x 64 pixels."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from compilers.datasets import Data

OUTPUT = "logits"
LABELS = tuple("0123456789")
SIDE = 64
NOISE = 0.05


def data() -> Data:
    """Images [n, 3, 64, 64] in 0 to 1, three equal colours, and the digit each shows."""
    digits = load_digits()
    small = torch.from_numpy((digits.images / 16).astype(np.float32))[:, None]
    large = functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear")
    images = large.expand(-1, 3, -1, -1).contiguous().numpy()
    return Data({"image": images}, digits.target.astype(np.int64))


def augment(inputs: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Noise on every pixel."""
    (images,) = inputs
    return ((images + NOISE * torch.randn(images.shape, generator=generator)).clamp(0, 1),)


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(images)))))
        return functional.relu(hidden + self.shortcut(images))


class ResNet18(nn.Module):
    """He et al. 2016 (arXiv:1512.03385), table 1, 18 layers; 11.2 million weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        layers: list[nn.Module] = []
        inputs = 64
        for stage, width in enumerate((64, 128, 256, 512)):
            for block in range(2):
                layers.append(Block(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.blocks = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, len(LABELS))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.blocks(self.stem(images)).mean((2, 3)))
        return logits


MODELS = {"resnet18": ResNet18}
