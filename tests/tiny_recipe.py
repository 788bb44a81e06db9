"""Write a recipe small enough to compile in a second, and read what it made."""

from __future__ import annotations

from pathlib import Path

from compilers.materials import Materials, gather
from compilers.plan import read_plan

SOURCE = """
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from compilers.datasets import Data

OUTPUT = "scores"
LABELS = tuple("0123456789")


def data():
    digits = load_digits()
    images = (digits.images[:500] / 16).astype(np.float32)[:, None]
    return Data({"image": images}, digits.target[:500])


def convolved(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * width, 10),
    )


MODELS = {
    "teacher": lambda: convolved(8),
    "student": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
}
"""

RECIPE = """
model: tiny
source:
  model: teacher
  training: {epochs: 3, learning_rate: 0.02, batch_size: 50}
  libraries: [scikit-learn]
splits: {validation: 50, calibration: 40, held_out: 100}
batch_sizes: [1, 4]
formats: [onnx_graph]
variants:
  fp32: []
  int8: [quantize]
  pruned: [prune: {ratio: 0.5, epochs: 1}]
  pruned-int8: [prune: {ratio: 0.5, epochs: 1}, quantize]
  student: [distill: {student: student, epochs: 1}]
"""

NAMES = ["cpu-fp32", "cpu-int8", "cpu-pruned", "cpu-pruned-int8", "cpu-student"]


def write(folder: Path, recipe: str = RECIPE, source: str | None = SOURCE) -> Path:
    """The recipe file, with its source module beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(recipe, encoding="utf-8")
    if source is not None:
        (folder / "source.py").write_text(source, encoding="utf-8")
    return path


def materials(folder: Path, recipe: str = RECIPE, source: str = SOURCE) -> Materials:
    """What steps draw on."""
    return gather(read_plan(write(folder, recipe, source)), lambda _: None)
