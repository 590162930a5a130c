"""What `clipserve embed` takes out of folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipserve.client.errors import ItemFailed
from clipserve.commands.vectors.listing import Met, images, shown


def files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")


def found(*sources: Path, root: Path | None = None) -> list[str]:
    return [item.key for item in images(map(str, sources), Met(), str(root) if root else None)]


def test_images_in_folders_come_by_name_whatever_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    files(tmp_path, "b/2.jpg", "c.png", "b/1.JPEG", "a.webp", "b/deep/er/x.jpg")
    assert found(tmp_path, root=tmp_path) == ["a.webp", "b/1.JPEG", "b/2.jpg", "b/deep/er/x.jpg", "c.png"]


def test_hidden_files_and_those_of_other_suffixes_are_not_taken_unless_they_are_named(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", ".b.jpg", ".hidden/c.jpg", "notes.txt", "none")
    assert found(tmp_path, root=tmp_path) == ["a.jpg"]
    assert found(tmp_path / "notes.txt", tmp_path / ".b.jpg", root=tmp_path) == ["notes.txt", ".b.jpg"]
    assert found(tmp_path / ".hidden", root=tmp_path) == [".hidden/c.jpg"]


def test_links_in_a_circle_end_and_a_folder_is_taken_once(tmp_path: Path) -> None:
    files(tmp_path, "a/1.jpg")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "same.jpg").symlink_to(tmp_path / "a/1.jpg")
    assert found(tmp_path, root=tmp_path) == ["a/1.jpg", "same.jpg"]


def test_a_link_to_nothing_or_to_itself_fails_alone_and_its_folder_is_taken(tmp_path: Path) -> None:
    files(tmp_path, "1.jpg", "b/2.jpg", "z.jpg")
    for name, to in {"a": "a", "loop.jpg": "loop.jpg", ".hidden": ".hidden", "gone.jpg": "nothing"}.items():
        (tmp_path / name).symlink_to(to)
    assert found(tmp_path, root=tmp_path) == ["1.jpg", "a", "b/2.jpg", "gone.jpg", "loop.jpg", "z.jpg"]
    with pytest.raises(ItemFailed, match=r"unreadable_file: Too many levels of symbolic links\.$"):
        next(iter(images([str(tmp_path / "a")], Met()))).image()


def test_a_name_that_is_not_utf_8_has_a_key_that_is(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.jpg"
    for each in (path, os.fsencode(tmp_path) + rb"/\xff.jpg"):
        with open(each, "wb"):
            pass
    assert found(tmp_path, root=tmp_path) == ["\\x5cxff.jpg", "\\xff.jpg"]
    assert shown(os.fsdecode(path)).endswith("/\\xff.jpg")
