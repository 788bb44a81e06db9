"""`farebox compile --search` as a command: killed, begun again, interrupted, refused in words."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_recipe
from test_compile import ROOT, command, finished, run

from compilers.cache import FOLDER, VALUE
from model_repo.cli import main
from model_repo.store import Store

TRIALS = re.compile(r"(\d+) trials \((\d+) new\), (\d+) in full")


def ended_trials(repository: Path) -> int:
    """Trials of which the step cache keeps how they ended."""
    values = repository.glob(f"{FOLDER}/[!.]*/{VALUE}")
    return sum(b'"measured"' in path.read_bytes() for path in values)


@contextmanager
def searching(recipe: Path, repository: Path, trials: int) -> Iterator[subprocess.Popen[str]]:
    """A search of an hour that has ended so many trials."""
    # Tests that a shell runs in the background ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command(recipe, repository, "--search", "--budget", "1h"),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 200
    try:
        while ended_trials(repository) < trials:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end, "it tries nothing"
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_killed_and_interrupted_it_loses_nothing(tmp_path: Path) -> None:
    recipe, repository = tiny_recipe.write(tmp_path), tmp_path / "repository"
    with searching(recipe, repository, 8) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    kept, ended = finished(repository), ended_trials(repository)
    with searching(recipe, repository, ended + 2) as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == (
        "farebox compile: interrupted; what was done is kept, and the same command goes on from "
        "there"
    )
    assert kept.items() <= finished(repository).items(), "a finished step is never made again"
    ended = ended_trials(repository)
    done = run(recipe, repository, "--search", "--budget", "1s", "--keep", "2", "--json")
    assert done.returncode == 0, done.stderr
    counted = TRIALS.search(done.stderr)
    assert counted, done.stderr
    tried, new, _ = map(int, counted.groups())
    assert tried - new >= ended, "what had ended is found, not tried again"
    shelved = {row["variant"] for row in json.loads(done.stdout)}
    extra = shelved - set(tiny_recipe.NAMES)
    assert set(tiny_recipe.NAMES) <= shelved and len(extra) <= 2
    assert all(name.startswith("cpu-found-") for name in extra)
    assert all(Store(repository).artifact(v) for v in Store(repository).variants("tiny", "1"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--search", "--budget", "soon"], "--budget is 'soon': write how long"),
        (["--search", "--budget", "-5m"], "--budget"),
        (["--search", "--keep", "-1"], "--keep is -1"),
        (["--budget", "10m"], "give --search with them"),
        (["--keep", "3"], "give --search with them"),
    ],
)
def test_bad_options_are_one_sentence(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe.write(tmp_path)
    where = ["--repository", str(tmp_path / "repository")]
    try:
        code = main(["compile", str(recipe), *where, *options])
    except SystemExit as error:  # argparse's own refusal
        code = int(error.code or 0)
    assert code == 2 and words in capsys.readouterr().err
    assert not os.path.exists(tmp_path / "repository")
