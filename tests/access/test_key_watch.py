"""Keys follow their file."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from clipserve.access.key_file import KeyFileError, add_key, following, remove_key
from tests.access.support import write_keys
from tests.logs import logged
from tests.support import eventually

SECONDS = 60  # two are promised


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


async def test_a_key_that_is_added_is_known_and_one_that_is_removed_is_not(path: Path) -> None:
    old = add_key(path, "old", ["use"])
    async with following(path) as keys:
        new = add_key(path, "new", ["use"])
        await eventually(lambda: keys.find(f"Bearer {new}") is not None, SECONDS)
        assert keys.find(f"Bearer {old}")
        remove_key(path, "old")
        await eventually(lambda: keys.find(f"Bearer {old}") is None, SECONDS)
        assert keys.find(f"Bearer {new}")


async def test_a_link_that_leads_elsewhere_is_a_change(path: Path, tmp_path: Path) -> None:
    """As Kubernetes changes a secret: keys -> ..data/keys, ..data -> a folder, and another ..data in its place."""
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    old = write_keys(tmp_path / "first" / "keys", a={})["a"]
    new = write_keys(tmp_path / "second" / "keys", b={})["b"]
    (tmp_path / "..data").symlink_to("first")
    path.symlink_to("..data/keys")
    async with following(path) as keys:
        (tmp_path / "..next").symlink_to("second")
        os.replace(tmp_path / "..next", tmp_path / "..data")
        await eventually(lambda: keys.find(f"Bearer {new}") is not None, SECONDS)
        assert keys.find(f"Bearer {old}") is None


async def test_a_change_of_the_same_size_and_time_is_one(path: Path) -> None:
    write_keys(path, a={})
    before = path.stat()
    async with following(path) as keys:
        new = write_keys(path, a={})["a"]
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
        await eventually(lambda: keys.find(f"Bearer {new}") is not None, SECONDS)


async def test_a_file_that_is_being_written_in_place_counts_when_that_is_done(path: Path) -> None:
    old = write_keys(path, a={})["a"]
    async with following(path) as keys:
        path.write_text("")  # as editors do, before they write
        for number in range(200):
            os.utime(path, ns=(number, number))  # between any two looks
            assert keys.find(f"Bearer {old}")
            await asyncio.sleep(0.01)
        new = write_keys(path, b={})["b"]
        await eventually(lambda: keys.find(f"Bearer {new}") is not None, SECONDS)


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_text("{"), Path.unlink], ids=["written", "removed"]
)
async def test_a_file_that_is_spoilt_leaves_the_keys_as_they_were_and_is_logged_once(
    path: Path, spoil: Callable[[Path], object]
) -> None:
    old = write_keys(path, a={})["a"]
    async with following(path) as keys:
        with logged() as log:
            spoil(path)
            await eventually(lambda: bool(log.lines), SECONDS)
            await asyncio.sleep(1)  # it is tried again, and not told again
            assert keys.find(f"Bearer {old}")
            new = write_keys(path, b={})["b"]
            await eventually(lambda: keys.find(f"Bearer {new}") is not None, SECONDS)
        assert keys.find(f"Bearer {old}") is None
    assert log.events == ["keys_unchanged", "keys"]
    assert str(path) in log.lines[0]["reason"]


async def test_a_file_that_cannot_be_read_for_a_moment_is_read_again(path: Path) -> None:
    """Here the process may open no file."""
    old = write_keys(path, a={})["a"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with following(path) as keys:
        with logged() as log:
            new = write_keys(path, b={})["b"]
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                await eventually(lambda: bool(log.lines), SECONDS)
                await asyncio.sleep(1)  # it is tried again, and not told again
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert keys.find(f"Bearer {old}")
            await eventually(lambda: keys.find(f"Bearer {new}") is not None, SECONDS)
    assert keys.find(f"Bearer {old}") is None
    assert log.events == ["keys_unchanged", "keys"]


async def test_a_file_that_is_spoilt_at_the_start_is_refused(path: Path) -> None:
    path.write_text("{")
    with pytest.raises(KeyFileError):
        async with following(path):
            pass
