"""What lies here runs on machines with an NVIDIA GPU alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_repo import cuda


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip this folder's tests where there is no GPU that torch can use."""
    if cuda.is_ready():
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="no CUDA GPU"))
