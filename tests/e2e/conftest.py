"""One gateway over null variants and imported ONNX files, for all tests that do not change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import PRICES, TOY, shelve, variant
from gateway_process import Gateway, farebox, gateway
from msgspec.structs import replace
from onnx import TensorProto
from onnx_files import linear, node, write

TYPES = {
    "echo": {
        "f": TensorProto.FLOAT, "d": TensorProto.DOUBLE, "i8": TensorProto.INT8,
        "i64": TensorProto.INT64, "u8": TensorProto.UINT8, "u64": TensorProto.UINT64,
        "t": TensorProto.BOOL, "s": TensorProto.STRING,
    },
    "half": {"h": TensorProto.FLOAT16, "b": TensorProto.BFLOAT16},
}  # fmt: skip


def echo(path: Path, types: dict[str, int]) -> Path:
    """Gives each input [n, 2] back as the output NAME_out."""
    return write(
        path,
        [node("Identity", name, f"{name}_out") for name in types],
        [(name, kind, ["n", 2]) for name, kind in types.items()],
        [(f"{name}_out", kind, ["n", 2]) for name, kind in types.items()],
    )


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """toy (three null variants), slow (half a second), linear, echo and half (real ONNX files)."""
    folder = tmp_path_factory.mktemp("e2e")
    root = folder / "repository"
    made = [variant("ref", 0.01, 0.95), variant("mid", 0.004, 0.9), variant("low", 0.001, 0.8)]
    times = {"ref": {"fill": 3.0}, "mid": {"fill": 2.0}, "low": {"fill": 1.0, "device_s": 0.0002}}
    shelve(root, *made, times=times)
    slow = replace(TOY, name="slow", batches=False)
    shelve(root, variant("ref", 0.5, sizes=(1,), model=slow), model=slow,
           times={"ref": {"device_s": 0.5}})  # fmt: skip
    files = [linear(folder / "linear.onnx")]
    files += [echo(folder / f"{name}.onnx", types) for name, types in TYPES.items()]
    for file in files:
        done = farebox("import", file, "--repository", root)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A price book."""
    path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(PRICES)
    return path


@pytest.fixture(scope="session")
def up(shelf: Path, book: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway that most tests share."""
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    config.write_text("{log_requests: true, max_body_bytes: 2000000, cores: 2}")
    with gateway("--repository", shelf, "--prices", book, "--config", config) as running:
        yield running


@pytest.fixture(autouse=True)
def is_still_well(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to the shared gateway, the next request is served."""
    yield
    if "up" in request.fixturenames:
        assert request.getfixturevalue("up").is_well()
