"""Without a GPU the gpu runtimes answer on the CPU, and say that they cannot serve there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpu_models
import numpy as np
import pytest
from gpu_models import CNN, job
from torch import nn

from compilers.forms import TorchModel
from compilers.targets import gpu
from model_repo import cuda, runtime, tensorrt_session
from model_repo.errors import BadInput, Corrupt, MissingDevice, MissingExtra
from model_repo.runtimes import tensorrt

NAMES = ("tensorrt", "tensorrt_rtx", "torch_program")
HERE = cuda.find() is not None
no_gpu = pytest.mark.skipif(HERE, reason="this machine has a GPU")


def lowered(name: str, folder: Path) -> Path:
    if name == "tensorrt_rtx":
        pytest.importorskip("tensorrt_rtx", reason="farebox[gpu] is not installed")
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model = TorchModel("n", network) if name == "torch_program" else gpu_models.cnn(folder)
    return folder / gpu.lower(model, name, folder, job()).path


@no_gpu
@pytest.mark.parametrize("name", NAMES)
def test_it_answers_on_the_cpu_and_does_not_serve_there(name: str, tmp_path: Path) -> None:
    opened = runtime.load(name)
    assert opened.device() == "cpu"
    with pytest.raises(MissingDevice, match="takes an NVIDIA GPU and its driver"):
        opened.check()
    session = opened.open_session(lowered(name, tmp_path), CNN)
    whole = session.run({"x": gpu_models.rows(5)})[0]["y"]
    assert whole.shape == (5, 10)
    alone = session.run({"x": gpu_models.rows(5)[:1]})[0]["y"]
    assert alone == pytest.approx(whole[:1], rel=1e-4, abs=1e-4)
    with pytest.raises(BadInput, match="refused these inputs"):
        session.run({"x": np.zeros((2, 3), np.float32)})
    session.close()


@pytest.mark.parametrize("name", ["tensorrt_rtx", "torch_program"])
def test_what_is_broken_is_corrupt(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK\x05\x06" + bytes(18))  # a zip of nothing
    with pytest.raises(Corrupt):
        runtime.load(name).open_session(tmp_path / "model.zip", CNN)
    (tmp_path / "model.zip").write_bytes(b"no zip")
    with pytest.raises(Corrupt):
        runtime.load(name).open_session(tmp_path / "model.zip", CNN)


class Library:
    """TensorRT as far as we call it: an engine is the ONNX file and the versions it was made with.

    It stands where the real library would, which loads on machines with a GPU alone; the engine's
    context computes through torch what the test says.
    """

    __name__ = "tensorrt"
    __version__ = "11.4.0"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)

    class ILogger:
        ERROR, INTERNAL_ERROR = 1, 0

    def __init__(self) -> None:
        self.builds: list[tuple[str, Any]] = []

    def Builder(self, log: Any) -> Any:
        def build(network: Any, settings: Any) -> bytes:
            self.builds.append((network.flags, tuple(settings[0])))
            return b"engine of " + network.data

        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(
                flags=flags,
                num_inputs=1,
                get_input=lambda place: SimpleNamespace(name="x", shape=(-1, 1, 8, 8)),
            ),
            create_builder_config=Settings,
            create_optimization_profile=Profile,
            build_serialized_network=build,
        )

    def OnnxParser(self, network: Any, log: Any) -> Any:
        def parse(data: bytes) -> bool:
            network.data = data
            return True

        return SimpleNamespace(parse=parse)

    def Runtime(self, log: Any) -> Any:
        def load(plan: bytes) -> Any:
            if not plan.startswith(b"engine of "):
                return None
            return SimpleNamespace(create_execution_context=Context)

        return SimpleNamespace(deserialize_cuda_engine=load)


class Settings(list[Any]):
    def add_optimization_profile(self, profile: Any) -> None:
        self.append(profile)


class Profile(list[Any]):
    def set_shape(self, name: str, least: Any, optimal: Any, largest: Any) -> None:
        self.append((name, least[0], optimal[0], largest[0]))


class Context:
    """Answers the sum of each row, ten times, at the addresses that it is given."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shapes["x"][0], 10)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        import ctypes

        def at(name: str, shape: tuple[int, ...]) -> Any:
            kind = ctypes.c_float * int(np.prod(shape))
            return np.frombuffer(kind.from_address(self.addresses[name]), np.float32).reshape(shape)

        x = at("x", self.shapes["x"])
        at("y", self.get_tensor_shape("y"))[:] = x.reshape(len(x), -1).sum(axis=1)[:, None]
        return True


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Library:
    """A machine with an L4 and TensorRT, whose memory is that of the CPU."""
    made = Library()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cuda, "find", lambda: cuda.Gpu("NVIDIA L4", "8.9"))
    monkeypatch.setattr(cuda, "is_ready", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", made)
    original = tensorrt_session.TorchSession

    def on_cpu(prepare: Any, model: Any, place: str) -> Any:
        assert place == "cuda"
        return original(prepare, model, "cpu")

    monkeypatch.setattr(tensorrt_session, "TorchSession", on_cpu)
    monkeypatch.setattr(tensorrt_session, "PLACE", "cpu")
    return made


def test_an_engine_is_built_at_first_load_and_kept_on_the_host(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lowered("tensorrt", tmp_path)
    assert tensorrt.device() == "gpu"
    for _ in range(2):
        session = tensorrt.open_session(path, CNN)
        for size in (1, 5):
            outputs, _ = session.run({"x": gpu_models.rows(size)})
            wanted = gpu_models.rows(size).reshape(size, -1).sum(axis=1)[:, None].repeat(10, 1)
            assert outputs["y"] == pytest.approx(wanted, rel=1e-5)
    assert library.builds == [(2, (("x", 1, 8, 128),))], "strongly typed, once"
    (kept,) = (tmp_path / "cache" / "farebox" / "engines").iterdir()
    assert kept.name.startswith("tensorrt-11.4.0-sm8.9-")
    monkeypatch.setattr(library, "__version__", "11.5.0", raising=False)
    tensorrt.open_session(path, CNN)
    monkeypatch.setattr(cuda, "find", lambda: cuda.Gpu("NVIDIA T4", "7.5"))
    tensorrt.open_session(path, CNN)
    assert len(library.builds) == 3, "another version and another card take engines of their own"


def test_an_engine_that_the_library_does_not_take_is_corrupt(library: Library) -> None:
    with pytest.raises(Corrupt, match=r"tensorrt 11.4.0 does not take the engine of m"):
        tensorrt_session.open_engine(library, b"something else", CNN)


def test_beside_a_gpu_a_missing_tensorrt_names_the_extra(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"farebox\[tensorrt\]"):
        tensorrt.check()
    with pytest.raises(MissingExtra, match=r"farebox\[tensorrt\]"):
        tensorrt.open_session(lowered("tensorrt", tmp_path), CNN)
