"""`farebox measure`: new times and memory, the same artifact and accuracy, on this host."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import staged
from msgspec import structs
from onnx_files import linear
from shelf import AT, model, profile, shelve

from compilers import example
from compilers.cascades.cascade import expected_profile
from compilers.datasets import Data
from compilers.profiling import measure, remeasure
from compilers.profiling.scoring import Score
from model_repo import cascades, lock, profiles
from model_repo.cli import main
from model_repo.errors import BadInput, Corrupt, NotFound
from model_repo.records import Model, TensorSpec, Variant, VariantKey
from model_repo.store import Store


def run(*words: object) -> int:
    return main(["measure", *map(str, words)])


def one(store: Store, name: str = "cpu-fp32") -> Variant:
    return store.variant(VariantKey("digits", "1", name))


def interrupt_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the second variant is measured."""
    whole, seen = measure.profile, []

    def interrupted(path: Path, *rest: object, **more: object) -> object:
        seen.append(path)
        if len(seen) > 1:
            raise KeyboardInterrupt
        return whole(path, *rest, **more)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(measure, "profile", interrupted)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "r")
    shelve(made, "cpu-fp32", kind="reference")
    shelve(made, "cpu-int8", profile(0.9))
    return made


def test_times_are_new_and_accuracy_is_not(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = one(store)
    stamp = store.artifact(before).stat()
    assert run("--repository", store.root) == 0
    after = one(store)
    old, new = before.profile, after.profile
    assert [p.batch_size for p in new.latency] == [p.batch_size for p in old.latency]
    assert new.latency != old.latency and new.measured_at > AT and new.host != old.host
    for name in ("accuracy", "accuracy_low", "accuracy_high", "accuracy_samples", "seed"):
        assert getattr(new, name) == getattr(old, name)
    assert new.accuracy_origin is not None
    assert (new.accuracy_origin.host, new.accuracy_origin.measured_at) == ("host", AT)
    assert structs.replace(after, profile=old) == before
    assert store.artifact(after).stat().st_mtime_ns == stamp.st_mtime_ns
    out = capsys.readouterr().out
    assert f"measured on {new.host}" in out and "before on host" in out
    assert "digits/1/cpu-fp32" in out and "digits/1/cpu-int8" in out


def test_where_accuracy_was_measured_is_kept_when_measured_twice(store: Store) -> None:
    assert run("--repository", store.root) == 0
    first = one(store).profile
    assert run("--repository", store.root) == 0
    assert one(store).profile.accuracy_origin == first.accuracy_origin


def test_one_variant_or_version_is_measured_and_the_rest_stays(store: Store) -> None:
    int8 = one(store, "cpu-int8")
    shelve(store, "cpu-fp32", kind="reference", version="2")
    assert run("digits/1/cpu-fp32", "--repository", store.root) == 0
    assert one(store, "cpu-int8") == int8 and one(store).profile.accuracy_origin
    assert run("digits/2", "--repository", store.root) == 0
    assert one(store, "cpu-int8") == int8
    assert store.variant(VariantKey("digits", "2", "cpu-fp32")).profile.accuracy_origin


def test_estimates_are_replaced_and_what_was_emulated_stays_so(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    shelve(store, "cpu-int8", profile(source="estimated"))
    shelve(store, "fpga-int4", profile(source="emulated"), target="fpga")
    assert run("--repository", store.root) == 0
    assert one(store, "cpu-int8").profile.source == "measured"
    assert one(store, "fpga-int4").profile == profile(source="emulated")
    told = capsys.readouterr()
    assert "was estimated" in told.out
    assert "left as they were, since this machine has no hardware of their targets" in told.err
    assert "fpga-int4" in told.err
    assert run("digits/1/fpga-int4", "--repository", store.root) == 1
    assert "it is for the target fpga, and this machine has none" in capsys.readouterr().err


def test_json_has_both_profiles(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("digits/1/cpu-int8", "--json", "--repository", store.root) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["key"] == "digits/1/cpu-int8"
    assert row["before"]["host"] == "host" and row["after"]["accuracy_origin"]["host"] == "host"


def test_what_cannot_be_measured_is_left_and_the_others_are_not(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.artifact(one(store)).write_bytes(b"rot")
    other = shelve(store, "npu-int8", artifact_format="npu_graph")
    assert run("--repository", store.root) == 1
    told = capsys.readouterr()
    assert "digits/1/cpu-fp32 is left as it was" in told.err
    assert "no runtime for npu_graph is installed here" in told.err
    assert one(store, "npu-int8") == other and one(store, "cpu-int8").profile.accuracy_origin
    assert "digits/1/cpu-int8" in told.out and "Traceback" not in told.err


def test_a_cascade_follows_its_stages(tmp_path: Path) -> None:
    store = staged.shelve(tmp_path / "r", threshold=1.0)
    before = store.variant(VariantKey("staged", "1", "cas"))
    assert run("staged/1/low", "--repository", store.root) == 0
    found = {v.key.variant: v for v in store.variants("staged", "1")}
    cas, low, ref = found["cas"].profile, found["low"].profile, found["ref"].profile
    share = cascades.read(store, found["cas"]).escalation
    score = Score(cas.accuracy, cas.accuracy_low, cas.accuracy_high, cas.accuracy_samples)
    assert cas.latency == expected_profile(low, ref, share, score).latency
    assert cas.latency != before.profile.latency and cas.accuracy == before.profile.accuracy
    assert found["cas"].artifact == before.artifact and ref.accuracy_origin is None


def test_a_cascade_follows_its_stages_though_the_next_one_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = staged.shelve(tmp_path / "r", threshold=1.0)
    interrupt_the_second(monkeypatch)
    assert run("--repository", store.root) == 130
    found = {v.key.variant: v for v in store.variants("staged", "1")}
    cas, low, ref = found["cas"].profile, found["low"].profile, found["ref"].profile
    assert low.accuracy_origin and not ref.accuracy_origin
    share = cascades.read(store, found["cas"]).escalation
    expected = expected_profile(low, ref, share, remeasure.score_of(cas))
    assert cas.latency == expected.latency


def test_a_cascade_alone_is_computed_from_its_stages_however_often(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = staged.shelve(tmp_path / "r", threshold=1.0)
    for _ in range(2):
        assert run("staged/1/cas", "--repository", store.root) == 0
        out = capsys.readouterr().out
        assert out.startswith("computed from the profiles of the stages") and "staged/1/cas" in out


def test_a_cascade_of_two_hosts_is_estimated_until_both_stages_are_measured_on_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = staged.shelve(tmp_path / "r", threshold=1.0)
    key = VariantKey("staged", "1", "cas")
    assert run("staged/1/low", "--repository", store.root) == 0
    assert store.variant(key).profile.source == "estimated"
    why = "the stages of a cascade were not all measured on one host"
    assert why in capsys.readouterr().out
    assert main(["report", "--repository", str(store.root)]) == 0
    assert why in capsys.readouterr().out
    assert run("staged/1/ref", "--repository", store.root) == 0
    assert store.variant(key).profile.source == "measured"
    assert why not in capsys.readouterr().out


@pytest.mark.parametrize(("device_s", "is_told"), [(0.000105, False), (0.00012, True)])
def test_a_time_that_the_same_host_does_not_repeat_is_told(
    device_s: float,
    is_told: bool,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = profile(device_s=device_s)
    monkeypatch.setattr(measure, "profile", lambda *_, **__: now)
    assert run("digits/1/cpu-int8", "--repository", store.root) == 0
    line = "device time over 10% from what this host was shelved with"
    assert (line in capsys.readouterr().out) == is_told
    elsewhere = structs.replace(now, host="other", latency=profile(device_s=1.0).latency)
    monkeypatch.setattr(measure, "profile", lambda *_, **__: elsewhere)
    assert run("digits/1/cpu-int8", "--repository", store.root) == 0
    assert line not in capsys.readouterr().out


def test_a_cascade_whose_stage_is_gone_is_said_only_if_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = staged.shelve(tmp_path / "r", threshold=1.0)
    store.remove("staged", "1", "low")
    assert run("staged/1/ref", "--repository", store.root) == 0
    capsys.readouterr()
    assert run("--repository", store.root) == 1
    assert "staged/1/cas is left as it was" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_finished(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_the_second(monkeypatch)
    assert run("--repository", store.root) == 130
    assert one(store).profile.accuracy_origin and not one(store, "cpu-int8").profile.accuracy_origin
    with store.writing():
        pass


def test_bad_words_get_one_sentence(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, sentence in (
        (["nope"], "there is no nope in"),
        (["digits/9"], "there is no digits/9 in"),
        (["digits/1/cpu-nope"], "there is no digits/1/cpu-nope in"),
        (["digits//x"], "write MODEL, MODEL/VERSION or MODEL/VERSION/VARIANT"),
        (["digits", "--data", tmp_path / "absent.npz"], "cannot be read"),
    ):
        assert run(*words, "--repository", store.root) == 2
        err = capsys.readouterr().err
        assert sentence in err and err.count("\n") == 1
    shelve(store, "cpu-fp32", kind="reference", name="other")
    assert run("--data", tmp_path / "x.npz", "--repository", store.root) == 2
    assert "--data fits one model version" in capsys.readouterr().err
    with lock.held(store.root):
        assert run("--repository", store.root) == 1
    assert "another farebox command is writing" in capsys.readouterr().err
    assert run("--repository", tmp_path / "none") == 0
    assert "is empty" in capsys.readouterr().out and not (tmp_path / "none").exists()


def test_data_example_or_made_up_rows(store: Store, tmp_path: Path) -> None:
    known, say = model(), print
    assert remeasure.rows(store, known, None, say).inputs["x"].shape[1] == 64
    shown = Data({"x": np.full((1, 64), 7, np.float32)})
    store.commit_model(known, example.request(known, shown))
    assert (remeasure.rows(store, known, None, say).inputs["x"] == 7).all()
    np.savez(tmp_path / "rows.npz", x=np.ones((5, 64), np.float32))
    assert len(remeasure.rows(store, known, tmp_path / "rows.npz", say)) == 5
    np.savez(tmp_path / "whole.npz", x=np.ones((5, 2, 64), np.float32))
    with pytest.raises(BadInput, match="is a whole request, but digits/1 batches"):
        remeasure.rows(store, known, tmp_path / "whole.npz", say)
    free = structs.replace(known, inputs=(TensorSpec("x", "FP16", (-1, -1)),), name="free")
    store.commit_model(free)
    with pytest.raises(BadInput, match="free/1 has free axes and no example request"):
        remeasure.rows(store, free, None, say)


def test_a_model_that_does_not_batch_is_measured_a_call_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, root = linear(tmp_path / "m.onnx", rows=2), tmp_path / "r"
    assert main(["import", str(path), "--repository", str(root)]) == 0
    assert run("m", "--repository", root) == 0
    found = Store(root).variant(VariantKey("m", "1", "cpu-reference")).profile
    assert [point.batch_size for point in found.latency] == [1] and found.accuracy_origin
    np.savez(tmp_path / "one.npz", x=np.ones((1, 4), np.float32))
    assert run("m", "--data", tmp_path / "one.npz", "--repository", root) == 2
    assert "has 1 rows, too few for one call" in capsys.readouterr().err


def test_a_profile_is_renewed_only_where_there_is_a_variant(store: Store) -> None:
    now = structs.replace(one(store).profile, load_s=9.0)
    assert profiles.renew(store, one(store).key, now).profile.load_s == 9.0
    assert one(store).profile == now
    with pytest.raises(NotFound):
        profiles.renew(store, VariantKey("digits", "1", "gone"), now)


def test_a_full_disk_stops_it_in_one_sentence_and_the_old_profile_stands(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("model_repo.durable.write_bytes", full)
    before = one(store)
    assert run("--repository", store.root) == 1
    err = capsys.readouterr().err
    assert "the new profile of digits/1/cpu-fp32 cannot be written: No space left" in err
    assert err.count("\n") == 1 and one(store) == before


@pytest.mark.parametrize(
    "text", ["", "{}", '{"inputs": [{"name": "x"}]}', '{"inputs": [{"name": "z", "data": []}]}']
)
def test_an_example_that_is_no_request_is_corrupt(text: str, tmp_path: Path) -> None:
    (tmp_path / "example.json").write_text(text)
    with pytest.raises(Corrupt, match="is no request that digits takes"):
        example.read(tmp_path / "example.json", model())


@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL", "BYTES"])
def test_an_example_comes_back_as_it_was_written(datatype: str, tmp_path: Path) -> None:
    value = np.array([["1", "0"]], object) if datatype == "BYTES" else np.array([[1, 0]])
    array = value.astype({"FP32": "f4", "INT64": "i8", "BOOL": "?", "BYTES": "O"}[datatype])
    known = Model("m", "1", (TensorSpec("x", datatype, (-1, 2)),), (), True)
    (tmp_path / "example.json").write_bytes(example.request(known, Data({"x": array})) or b"")
    back = example.read(tmp_path / "example.json", known).inputs["x"]
    assert back.dtype == array.dtype and (back == array).all()


def test_measuring_needs_no_library_of_the_compile_extra(store: Store) -> None:
    import subprocess

    extra = ("torch", "onnx", "scipy", "sklearn", "tqdm", "safetensors", "nncf", "onnxscript")
    code = (
        f"import sys\nfor name in {extra}:\n    sys.modules[name] = None\n"
        "from compilers.profiling import timing\ntiming.SPAN_S = timing.LIMIT_S = 0\n"
        "from model_repo.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", code, "measure", "--repository", str(store.root)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert one(store).profile.accuracy_origin
