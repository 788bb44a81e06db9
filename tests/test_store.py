"""The shelf keeps what was committed, whole or not at all, and vouches for every byte."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
import shelf

from model_repo import durable
from model_repo.errors import BadInput, Corrupt, FareboxError, NotFound, Unavailable
from model_repo.names import MANIFEST, check_name
from model_repo.records import Model, Variant, VariantKey
from model_repo.store import Store

KEY = VariantKey("digits", "1", "cpu-fp32")


def test_what_is_committed_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "repo")
    made = shelf.shelve(store, "cpu-fp32", kind="reference")
    assert store.versions() == [("digits", "1")]
    assert store.model("digits", "1") == shelf.model()
    assert store.variants("digits", "1") == [made]
    assert store.artifact(made).read_text() == '{"fill": 0.0}'


def test_an_empty_repository_has_nothing_and_is_not_created_by_looking(tmp_path: Path) -> None:
    store = Store(tmp_path / "repo")
    assert store.versions() == [] and store.keys("m", "1") == []
    with pytest.raises(NotFound, match="no model m/1"):
        store.model("m", "1")
    with pytest.raises(NotFound, match="no variant digits/1/cpu-fp32"):
        store.variant(KEY)
    store.fingerprint()
    assert not store.root.exists()


def test_a_folder_without_a_manifest_does_not_exist(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shelf.shelve(store, "cpu-int8")
    folder = store.folder(KEY)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"half")
    assert [key.variant for key in store.keys("digits", "1")] == ["cpu-int8"]
    with pytest.raises(NotFound):
        store.variant(KEY)
    shelf.shelve(store, "cpu-fp32")  # and it is in nobody's way
    assert len(store.keys("digits", "1")) == 2


def test_a_corrupt_artifact_is_refused_in_a_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = shelf.shelve(store, "cpu-fp32")
    path = store.artifact(made)
    path.write_text('{"fill": 9.0}')  # the same length
    with pytest.raises(Corrupt, match=r"SHA-256 differs.*remove the variant and compile it again"):
        store.artifact(made)
    path.write_text("longer than it was")
    with pytest.raises(Corrupt, match="not the file that was measured"):
        store.artifact(made)
    path.unlink()
    with pytest.raises(Corrupt, match="is missing; compile it again"):
        store.artifact(made)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"key": 1}', "[]", "\xff"])
def test_a_broken_manifest_or_signature_is_named(text: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    shelf.shelve(store, "cpu-fp32")
    manifest = store.folder(KEY) / MANIFEST
    whole = manifest.read_bytes()
    manifest.write_bytes(text.encode("latin-1"))
    with pytest.raises(Corrupt, match=r"variant\.json cannot be read"):
        store.variant(KEY)
    manifest.write_bytes(whole)
    (tmp_path / "digits/1/model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(Corrupt, match=r"model\.json cannot be read"):
        store.model("digits", "1")


def test_a_manifest_in_a_strange_folder_is_corrupt(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shelf.shelve(store, "cpu-fp32")
    shutil.copytree(store.folder(KEY), tmp_path / "digits/1/renamed")
    with pytest.raises(Corrupt, match="is the manifest of digits/1/cpu-fp32, not of"):
        store.variant(VariantKey("digits", "1", "renamed"))


def test_an_artifact_never_lies_outside_its_folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "repo")
    made = shelf.shelve(store, "cpu-fp32")
    (tmp_path / "secret").write_text('{"fill": 0.0}')
    for path in ("../../../../secret", str(tmp_path / "secret"), "..", ""):
        away = msgspec.structs.replace(
            made, artifact=msgspec.structs.replace(made.artifact, path=path)
        )
        with pytest.raises(Corrupt):
            store.artifact(away)


def test_a_version_keeps_its_signature(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit_model(shelf.model())
    store.commit_model(shelf.model())
    other = Model("digits", "1", shelf.model().inputs, shelf.model().outputs, False)
    with pytest.raises(BadInput, match="give the new model another version"):
        store.commit_model(other)


def test_a_variant_is_replaced_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shelf.shelve(store, "cpu-fp32", fill=1.0)
    first = store.fingerprint()
    shelf.shelve(store, "cpu-fp32", fill=2.0)
    assert store.artifact(store.variant(KEY)).read_text() == '{"fill": 2.0}'
    assert first != store.fingerprint()
    assert list((tmp_path / ".staging").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "-x", "x" * 129, "a b", "é"])
def test_names_that_leave_the_repository_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="use 1 to 128 letters"):
        check_name(name, "model")
    with pytest.raises(BadInput):
        Store(tmp_path).folder(VariantKey("m", "1", name))


def test_removing_takes_what_was_named_and_what_is_left_empty(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for variant in ("a", "b"):
        for version in ("1", "2"):
            shelf.shelve(store, variant, version=version)
    assert store.remove("digits", "1", "a") == 1
    assert [key.variant for key in store.keys("digits", "1")] == ["b"]
    assert store.remove("digits", "1", "b") == 1
    assert store.versions() == [("digits", "2")]
    assert store.remove("digits") == 2
    assert store.versions() == [] and not (tmp_path / "digits").exists()
    with pytest.raises(NotFound, match="there is no digits/2"):
        store.remove("digits", "2")


@pytest.mark.parametrize("is_there", [False, True])
def test_a_file_that_is_not_the_one_measured_is_not_shelved(is_there: bool, tmp_path: Path) -> None:
    store, file = Store(tmp_path / "repo"), tmp_path / "times.json"
    made = shelf.shelve(store, "cpu-fp32", fill=1.0)
    if not is_there:
        store.remove("digits")
    file.write_text('{"fill": 9.0}')
    with pytest.raises(Corrupt, match=r"digits/1/cpu-fp32: .*SHA-256 differs"):
        store.commit(made, file)
    assert store.keys("digits", "1") == ([KEY] if is_there else [])
    if is_there:
        assert store.artifact(store.variant(KEY)).read_text() == '{"fill": 1.0}'
        assert len(list(store.folder(KEY).iterdir())) == 2


def test_an_example_is_rewritten_when_it_differs_and_never_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.commit_model(shelf.model(), b"first")
    path = store.example("digits", "1")
    assert path
    inode = path.stat().st_ino
    store.commit_model(shelf.model(), b"first")
    assert path.stat().st_ino == inode  # the same: left alone
    real = Path.write_bytes

    def cut_short(self: Path, data: bytes) -> int:
        if b"second" in data:
            real(self, data[:3])
            raise OSError(28, "No space left on device")
        return real(self, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", cut_short)
        with pytest.raises(OSError, match="No space"):
            store.commit_model(shelf.model(), b"second")
    assert path.read_bytes() == b"first"
    store.commit_model(shelf.model(), b"second")
    assert path.read_bytes() == b"second"
    assert {p.name for p in path.parent.iterdir()} == {"model.json", "example.json"}


def test_a_repository_that_is_no_folder_is_refused_for_reading_and_writing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for root in (file, file / "below", Path("/dev/null")):
        with pytest.raises(BadInput, match=r"cannot be read: Not a directory"):
            Store(root).versions()
        with pytest.raises(BadInput, match=r"cannot be written: "), Store(root).writing():
            pass
    with pytest.raises(BadInput, match="cannot be written"), Store(Path("/proc/nope")).writing():
        pass
    assert Store(Path("/proc/nope")).versions() == []


def test_a_full_disk_is_not_the_users_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", fail)
    with (
        pytest.raises(FareboxError, match="No space left on device; make room") as caught,
        Store(tmp_path / "new").writing(),
    ):
        pass
    assert not isinstance(caught.value, BadInput)


def test_nothing_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "bare" / "1").mkdir(parents=True)
    with pytest.raises(NotFound, match="there is no bare in"):
        Store(tmp_path).remove("bare")
    assert (tmp_path / "bare").exists() and not (tmp_path / ".staging").exists()
    Store(tmp_path).commit_model(shelf.model())
    assert Store(tmp_path).remove("digits") == 0  # a signature alone may go


STEPS = ["copyfile", "sync", "write", "replace", "rename"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_there", [False, True])
def test_an_error_at_any_step_leaves_the_old_variant_or_none(
    step: str, is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    shelf.shelve(store, "other")
    if is_there:
        shelf.shelve(store, "cpu-fp32", fill=1.0)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if is_there and step == "rename":
        return  # what is there already is replaced in place
    owner = {"copyfile": shutil, "replace": os, "rename": Path}.get(step, durable)
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, fail)
        with pytest.raises(OSError, match="No space"):
            shelf.shelve(store, "cpu-fp32", fill=2.0)
    found = {v.key.variant: v for v in store.variants("digits", "1")}
    assert set(found) == {"other", *(["cpu-fp32"] if is_there else [])}
    for variant in found.values():
        assert store.artifact(variant).read_text() in ('{"fill": 0.0}', '{"fill": 1.0}')


KILLED = """
import os, signal, sys
from pathlib import Path
import shelf
from model_repo import durable as module
from model_repo.store import Store
calls = 0
def watched(name, owner):
    real = getattr(owner, name)
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(owner, name, call)
store = Store(Path(sys.argv[1]))
with store.writing():
    for name, owner in (("sync", module), ("replace", os), ("rename", Path)):
        watched(name, owner)
    shelf.shelve(store, "cpu-fp32", fill=2.0)
print(calls)
"""


def kill_at(root: Path, call: int) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(call)],
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )


@pytest.mark.parametrize("is_there", [False, True])
def test_a_process_killed_at_any_point_leaves_whole_variants_only(
    is_there: bool, tmp_path: Path
) -> None:
    def prepare(root: Path) -> None:
        if is_there:
            shelf.shelve(Store(root), "cpu-fp32", fill=1.0)

    prepare(tmp_path / "probe")
    probe = kill_at(tmp_path / "probe", 0)
    assert probe.returncode == 0, probe.stderr
    assert int(probe.stdout) >= 8
    for call in range(1, int(probe.stdout) + 1):
        root = tmp_path / str(call)
        prepare(root)
        assert kill_at(root, call).returncode == -signal.SIGKILL
        store = Store(root)
        with store.writing():  # the lock went with the process
            found = store.variants("digits", "1")
            assert len(found) == 1 or not (found or is_there), f"call {call}"
            for variant in found:
                assert store.artifact(variant).read_text() in ('{"fill": 1.0}', '{"fill": 2.0}')
            shelf.shelve(store, "cpu-fp32", fill=3.0)
            assert len(store.variants("digits", "1")) == 1
        left = {path.name for path in store.folder(KEY).iterdir()}
        assert MANIFEST in left and len(left) <= 3 and not any("partial" in name for name in left)
        store.remove("digits")
        assert not (root / "digits").exists()


def test_only_one_writes_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with (
        store.writing(),
        pytest.raises(Unavailable, match="another farebox command"),
        Store(tmp_path).writing(),
    ):
        pass
    with store.writing():
        pass


def test_a_reader_beside_writers_sees_whole_variants(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shelf.shelve(store, "cpu-fp32")
    done, seen, faults = threading.Event(), 0, list[BaseException]()

    def write(name: str) -> None:
        try:
            mine = tmp_path / f".{name}"
            mine.mkdir()
            for turn in range(15):
                made = shelf.shelve(Store(mine), name, fill=float(turn))
                Store(tmp_path).commit(made, Store(mine).artifact(made))
        except BaseException as error:
            faults.append(error)

    writers = [threading.Thread(target=write, args=(f"cpu-{i}",)) for i in range(3)]
    for writer in writers:
        writer.start()

    def read() -> None:
        nonlocal seen
        while not done.is_set():
            seen += sum(isinstance(v, Variant) for v in store.variants("digits", "1"))
            store.fingerprint()

    def read_safely() -> None:
        try:
            read()
        except BaseException as error:
            faults.append(error)

    reader = threading.Thread(target=read_safely)
    reader.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert faults == [] and seen
    assert len(store.keys("digits", "1")) == 4
    assert all(store.artifact(v) for v in store.variants("digits", "1"))
