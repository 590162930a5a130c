"""Files that are replaced whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipserve.access.key_file import add_key
from clipserve.files import replacing


def test_what_replaces_a_file_is_on_the_disk_before_it_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        steps.append("folder" if os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)) else "file")
        sync(descriptor)

    def replaced(source: str, target: Path) -> None:
        steps.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    add_key(tmp_path / "keys", "a", ["use"])
    assert steps == ["file", "name", "folder"]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    def failed() -> None:
        with replacing(tmp_path / "file") as file:
            file.write(b"new")
            raise ZeroDivisionError

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        failed()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
        assert (tmp_path / "file").read_bytes() == b"old"
    assert (tmp_path / "file").read_bytes() == b"new"
