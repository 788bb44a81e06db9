"""The console script: quick help, one sentence for every mistake, exit codes 0, 1 and 2."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import shelf

from model_repo.cli import AS_USED, find_commands, main
from model_repo.errors import BadInput, Cancelled, FareboxError, NotFound, Unavailable
from model_repo.store import Store

HEAVY = {
    "torch",
    "onnx",
    "onnxruntime",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "grpc",
    "starlette",
    "uvicorn",
    "tritonclient",
    "ml_dtypes",
    "asyncio",
}


def imported(*words: str) -> set[str]:
    """The heavy modules that a command line leaves loaded."""
    code = (
        "import sys\nfrom model_repo.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        text=True,
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return HEAVY & set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    assert imported(*words) == set()


@pytest.mark.parametrize("command", sorted(find_commands()))
def test_the_help_of_every_command_loads_neither_torch_nor_a_runtime(command: str) -> None:
    assert not imported(command, "--help") & {"torch", "onnx", "onnxruntime", "scipy", "matplotlib"}


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    for name, (_, summary) in find_commands().items():
        assert name in out and summary in out
        assert summary[0].isupper() and len(summary) > 10


def test_the_help_lists_the_commands_as_they_are_used() -> None:
    assert list(find_commands())[: len(AS_USED)] == AS_USED


@pytest.mark.parametrize("command", AS_USED)
def test_the_help_says_something_of_every_argument(command: str) -> None:
    action = argparse.ArgumentParser()
    importlib.import_module(find_commands()[command][0]).configure(action)
    assert not [each.dest for each in action._actions if not each.help]


def test_no_command_and_a_wrong_one_are_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["frobnicate"])
    assert stop.value.code == 2
    assert "frobnicate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("no"), 2),
        (NotFound("no"), 2),
        (Unavailable("no"), 1),
        (Cancelled("no"), 1),
        (FareboxError("no"), 1),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device", "/full"), 1),
        (OSError(5, "Input/output error"), 1),
        (TimeoutError(), 1),
        (PermissionError(13, "Permission denied", "/secret"), 2),
        (NotADirectoryError(20, "Not a directory", "/file"), 2),
    ],
)
def test_each_error_has_its_exit_code_and_one_sentence(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("model_repo.commands.list.run", fail)
    assert main(["list"]) == code
    err = capsys.readouterr().err
    assert err.startswith("farebox list: ") and err.count("\n") == 1 and "Traceback" not in err


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("model_repo.commands.list.run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_list_verify_and_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--repository", str(tmp_path)]
    assert main(["list", *where]) == 0
    assert "is empty: farebox compile digits" in capsys.readouterr().out
    store = Store(tmp_path)
    shelf.shelve(store, "cpu-fp32", kind="reference")
    made = shelf.shelve(store, "cpu-int8")
    assert main(["list", "--json", *where]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["variant"] for row in listed] == ["cpu-fp32", "cpu-int8"]
    assert listed[1]["sha256"] == made.artifact.sha256
    assert main(["verify", *where]) == 0
    assert "2 sound, 0 broken" in capsys.readouterr().out
    store.artifact(made).write_bytes(b"rot")
    assert main(["verify", *where]) == 1
    told = capsys.readouterr()
    assert "1 sound, 1 broken" in told.out and "cpu-int8" in told.err
    assert main(["remove", "digits/1/cpu-int8", *where]) == 0
    assert main(["verify", *where]) == 0
    assert main(["remove", "digits/1/cpu-int8", *where]) == 2
    assert main(["remove", "digits//x", *where]) == 2
    assert main(["remove", "../etc", *where]) == 2
    assert main(["remove", "digits", *where]) == 0
    assert store.versions() == []


@pytest.mark.parametrize("command", ["list", "report", "verify", "remove digits"])
def test_a_repository_that_is_a_file_is_said(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([*command.split(), "--repository", str(tmp_path / "file")]) == 2
    err = capsys.readouterr().err
    assert "file cannot be read: Not a directory" in err and err.count("\n") == 1


def test_removing_from_nowhere_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "new"
    assert main(["remove", "digits", "--repository", str(where)]) == 2
    assert "there is no digits in" in capsys.readouterr().err and not where.exists()


def test_the_repository_may_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAREBOX_REPOSITORY", str(tmp_path / "elsewhere"))
    assert main(["list"]) == 0
    assert "elsewhere is empty" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_failure() -> None:
    code = "from model_repo.cli import main; import sys; sys.exit(main(['prices', '--json']))"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait() == 0, error
    assert b"Traceback" not in error and b"BrokenPipe" not in error


def test_a_command_name_as_the_value_of_an_option_is_not_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["list", "--repository", "report"]) == 0
    assert "report is empty" in capsys.readouterr().out
