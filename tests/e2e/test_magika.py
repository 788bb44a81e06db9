"""The README's way to import a real model out of a package: int8 variants, served."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gateway_process import farebox, gateway

from compilers.foreign import intake
from model_repo.cli import main
from model_repo.store import Store

ROOT = Path(__file__).parents[2]
MAGIKA = importlib.util.find_spec("magika")
INT8 = ("cpu-int8", "cpu-int8-openvino", "cpu-int8-qdq")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README's script makes of the files of NumPy."""
    folder = tmp_path_factory.mktemp("magika")
    text = (ROOT / "compilers" / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(import sys\n.*?)```", text, re.DOTALL)
    command = [sys.executable, "-c", script, str(Path(np.__file__).parent)]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    with np.load(folder / "files.npz") as arrays:
        some = arrays["bytes"][:120]
    assert some.shape[1:] == (2048,) and some.dtype == np.int32
    np.savez(folder / "files.npz", bytes=some)
    np.savez(folder / "one.npz", bytes=some[:1])
    return folder


@pytest.mark.slow
@pytest.mark.skipif(MAGIKA is None, reason="needs the package magika, of farebox[dev]")
def test_the_model_inside_magika_gets_int8_variants_and_is_served(
    rows: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAGIKA is not None and MAGIKA.origin
    monkeypatch.setattr(intake, "BATCH_SIZES", (1, 2))
    path = Path(MAGIKA.origin).parent / "models" / "standard_v3_3" / "model.onnx"
    repository = rows / "repository"
    given = ("--data", str(rows / "files.npz"), "--repository", str(repository))
    assert main(["import", str(path), "--name", "magika", *given]) == 0
    shelved = {v.key.variant: v for v in Store(repository).variants("magika", "1")}
    made = [name for name in INT8 if name in shelved]
    assert "cpu-int8" in made
    for name in made:
        profile = shelved[name].profile
        assert profile.accuracy > 0.85 and profile.accuracy_samples > 60
        assert [point.batch_size for point in profile.latency] == [1, 2]
    with gateway("--repository", repository, "--prices", book) as up:
        for name in made:
            url = f"http://127.0.0.1:{up.http}"
            asked = ("--input", rows / "one.npz", "--url", url, "--variant", name, "--json")
            done = farebox("infer", "magika", *asked)
            assert done.returncode == 0, done.stderr
            answer = json.loads(done.stdout)
            assert answer["parameters"]["variant"] == name
            assert answer["outputs"][0]["shape"] == [1, 214]
            assert sum(answer["outputs"][0]["data"]) == pytest.approx(1, abs=0.01)
