"""Keys follow their file."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from clipserve.access.key_file import following
from tests.access.support import write_keys
from tests.support.logs import logged
from tests.support.service import eventually

SECONDS = 60  # two are promised


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


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


def open_no_file(_: Path) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_text("{"), id="no file of keys"),
        pytest.param(Path.unlink, id="removed"),
        pytest.param(open_no_file, id="the process may open no file"),
    ],
)
async def test_a_file_that_is_spoilt_leaves_the_keys_as_they_were_and_is_logged_once(
    path: Path, spoil: Callable[[Path], object]
) -> None:
    old = write_keys(path, a={})["a"]
    async with following(path) as keys:
        with logged() as log:
            write_keys(path, b={})
            usual = resource.getrlimit(resource.RLIMIT_NOFILE)
            spoil(path)
            try:
                await eventually(lambda: bool(log.lines), SECONDS)
                await asyncio.sleep(1)  # it is tried again, and not told again
                assert keys.find(f"Bearer {old}")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, usual)
            new = write_keys(path, b={})["b"]
            await eventually(lambda: keys.find(f"Bearer {new}") is not None, SECONDS)
        assert keys.find(f"Bearer {old}") is None
    assert log.events == ["keys_unchanged", "keys"]
    assert str(path) in log.lines[0]["reason"]
