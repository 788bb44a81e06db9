"""Shared memory regions: bounded, checked, and never a reason for the process to end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.shared_memory import Region, Regions
from model_repo.errors import BadInput, NotFound

KEY = f"farebox_test_{os.getpid()}"


@pytest.fixture
def file() -> Iterator[Path]:
    path = Path("/dev/shm") / KEY
    path.write_bytes(bytes(range(64)))
    yield path
    path.unlink(missing_ok=True)


def test_bytes_are_read_and_written_within_the_region(file: Path) -> None:
    regions = Regions()
    regions.register(Region("r", f"/{KEY}", 8, 16))
    assert regions.read("r", 2, 4) == bytes([10, 11, 12, 13])
    regions.write("r", 14, b"\xff\xfe")
    assert file.read_bytes()[20:26] == bytes([20, 21, 0xFF, 0xFE, 24, 25])
    for offset, size in ((0, 17), (16, 1), (-1, 2), (0, -1)):
        with pytest.raises(BadInput, match="are not in shared memory region 'r', which has 16"):
            regions.read("r", offset, size)
    with pytest.raises(BadInput, match="bytes 15 to 17"):
        regions.write("r", 15, b"ab")
    regions.unregister("")


def test_a_region_that_shrinks_is_the_callers_mistake(file: Path) -> None:
    regions = Regions()
    regions.register(Region("r", KEY, 0, 64))
    os.truncate(file, 8)
    with pytest.raises(BadInput, match="has become smaller"):
        regions.read("r", 0, 64)
    with pytest.raises(BadInput, match="has become smaller"):
        regions.write("r", 0, bytes(64))
    assert file.stat().st_size == 8
    regions.unregister("r")


def test_names_come_and_go(file: Path) -> None:
    regions = Regions()
    regions.register(Region("a", KEY, 0, 8))
    regions.register(Region("b", KEY, 8, 8))
    assert [region.name for region in regions.status()] == ["a", "b"]
    assert regions.status("b") == [Region("b", KEY, 8, 8)]
    with pytest.raises(BadInput, match="'a' is registered already"):
        regions.register(Region("a", KEY, 0, 8))
    regions.unregister("a")
    regions.unregister("a")
    for ask in (lambda: regions.status("a"), lambda: regions.read("a", 0, 1)):
        with pytest.raises(NotFound, match="'a' is not registered"):
            ask()
    files = len(os.listdir("/proc/self/fd"))
    regions.unregister("")
    assert not regions.status() and len(os.listdir("/proc/self/fd")) == files - 1


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        (Region("", KEY, 0, 8), "needs a name"),
        (Region("r", "no_such_key", 0, 8), "No such file"),
        (Region("r", "../shm/x", 0, 8), "is none"),
        (Region("r", "..", 0, 8), "is none"),
        (Region("r", KEY, -1, 8), "offset -1"),
        (Region("r", KEY, 0, 0), "byte_size 0"),
        (Region("r", KEY, 60, 8), "ends at byte 68, but .* has 64"),
    ],
)
def test_what_is_no_region_is_refused(file: Path, region: Region, sentence: str) -> None:
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BadInput, match=sentence):
        Regions().register(region)
    assert len(os.listdir("/proc/self/fd")) == files


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    secret, link = tmp_path / "secret", Path("/dev/shm") / f"{KEY}_link"
    secret.write_bytes(bytes(8))
    link.symlink_to(secret)
    try:
        with pytest.raises(BadInput, match="cannot be opened"):
            Regions().register(Region("r", link.name, 0, 8))
    finally:
        link.unlink()
