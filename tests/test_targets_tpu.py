"""The tpu target: one program from either form, the same bytes everywhere, and a real estimate."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx_files
import pytest
import torch
from torch import nn

from compilers.contracts import Job
from compilers.forms import TorchModel
from compilers.graph import graphs
from compilers.targets import tpu
from compilers.tpu import estimates
from model_repo.errors import BadInput, MissingExtra, Unsupported
from model_repo.records import Model, TensorSpec
from model_repo.runtimes import stablehlo

pytestmark = pytest.mark.skipif(
    find_spec("torchax") is None, reason="the extra tpu is not installed"
)

SIGNATURE = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),), True
)
JOB = Job(tpu.Options(), SIGNATURE, (1, 8), 0)
ROWS = np.random.default_rng(0).random((5, 4), np.float32)


def network() -> TorchModel:
    torch.manual_seed(0)
    return TorchModel("net", nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval())


def given(form: str, folder: Path) -> Any:
    return network() if form == "torch" else onnx.load(onnx_files.linear(folder / "m.onnx"))


@pytest.mark.parametrize("form", tpu.FORMATS["stablehlo"].forms)
def test_a_model_of_either_form_is_one_program_for_all_three(form: str, tmp_path: Path) -> None:
    artifact = tpu.lower(given(form, tmp_path), "stablehlo", tmp_path, JOB)
    assert (artifact.path, artifact.format) == ("model.stablehlo", "stablehlo")
    blob = (tmp_path / artifact.path).read_bytes()
    assert artifact.sha256 == hashlib.sha256(blob).hexdigest()
    from model_repo.jax_loading import load_jax

    program = load_jax().export.deserialize(bytearray(blob))
    assert program.platforms == ("cpu", "tpu", "cuda")
    assert "batch" in str(program.in_avals[0])
    session = stablehlo.open_session(tmp_path / artifact.path, SIGNATURE)
    assert session.run({"x": ROWS})[0]["y"].shape == (5, 3)


LOWER = """
import sys; from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_targets_tpu as t
folder = Path(sys.argv[3])
print(t.tpu.lower(t.given(sys.argv[2], folder), "stablehlo", folder, t.JOB).sha256)
"""


@pytest.mark.parametrize("form", tpu.FORMATS["stablehlo"].forms)
def test_another_process_writes_the_same_bytes_without_a_path_in_them(
    form: str, tmp_path: Path
) -> None:
    artifact = tpu.lower(given(form, tmp_path), "stablehlo", tmp_path, JOB)
    blob = (tmp_path / artifact.path).read_bytes()
    (tmp_path / "elsewhere").mkdir()
    here = Path(__file__).parent
    assert str(here.parent).encode() not in blob and b".py" not in blob
    command = [sys.executable, "-c", LOWER, str(here), form, str(tmp_path / "elsewhere")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split()[-1] == artifact.sha256


def test_fp16_is_refused_and_told_what_to_use(tmp_path: Path) -> None:
    proto = given("onnx", tmp_path)
    proto.metadata_props.add(key=graphs.PRECISION, value="fp16")
    with pytest.raises(Unsupported, match="use quantize in mode bf16"):
        tpu.lower(proto, "stablehlo", tmp_path, JOB)


def test_a_signature_that_a_tpu_cannot_have_is_refused_in_words(tmp_path: Path) -> None:
    for spec, reason in (
        (TensorSpec("x", "FP64", (-1, 4)), "64 bits in floating point"),
        (TensorSpec("x", "FP32", (-1, -1)), "only the batch axis may be free"),
    ):
        job = dataclasses.replace(JOB, signature=Model("m", "1", (spec,), SIGNATURE.outputs, True))
        with pytest.raises(Unsupported, match=reason):
            tpu.lower(given("onnx", tmp_path), "stablehlo", tmp_path, job)


@pytest.mark.parametrize(
    ("topologies", "reason"),
    [
        (("v9:2x2",), "no TPU topology 'v9:2x2' here: choose among v5e:2x2, v6e:2x2"),
        ((), "topologies is empty"),
        (("v5e:2x2", "v5e:2x2"), "names one twice"),
    ],
)
def test_topologies_are_checked_before_anything_is_computed(
    topologies: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    job = dataclasses.replace(JOB, options=tpu.Options(topologies=topologies))
    with pytest.raises(BadInput, match=reason):
        tpu.lower(None, "stablehlo", tmp_path, job)


def test_without_the_tpus_compiler_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = find_spec
    monkeypatch.setattr(estimates, "find_spec", lambda n: None if n == "libtpu" else there(n))
    with pytest.raises(MissingExtra, match=r"'libtpu'.*farebox\[tpu\]"):
        tpu.estimate(tmp_path / "none", "stablehlo", JOB)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="the TPU's compiler is not installed")
def test_the_real_compiler_gives_a_range_for_each_batch_size(tmp_path: Path) -> None:
    said: list[str] = []
    artifact = tpu.lower(network(), "stablehlo", tmp_path, JOB)
    job = dataclasses.replace(JOB, batch_sizes=(1, 2, 8, 16), say=said.append)
    found = tpu.estimate(tmp_path / artifact.path, "stablehlo", job)
    assert [point.batch_size for point in found.latency] == [1, 2, 8, 16]
    for point in found.latency:
        assert 0 <= point.device_low_s <= point.device_high_s == point.device_s == point.p99_s
        assert 1e-9 < point.device_high_s < 1e-2 and point.runs == 0
    assert found.source == "estimated" and found.host.startswith("TPU v5e, estimated by libtpu ")
    # 4 x 8 + 8 x 3 products and sums a row, at least.
    assert found.notes["tpu.v5e.batch8.flops"] >= 8 * 2 * 56
    assert found.notes["tpu.v6e.batch1.high_s"] > 0 and found.memory_bytes > 56 * 4
    assert len(said) == 5 and "v6e:2x2, batch 16 (5 of 5)" in said[-1]
    one, two, eight = (point.device_s for point in found.latency[:3])
    assert two == pytest.approx(one + (eight - one) / 7)  # in between
    msgspec.json.encode(found)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="the TPU's compiler is not installed")
def test_what_the_compiler_cannot_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"no program")
    with pytest.raises(Unsupported, match="the compiler of TPUs, for v5e:2x2 at batch 1, ended"):
        tpu.estimate(tmp_path / "broken", "stablehlo", JOB)
