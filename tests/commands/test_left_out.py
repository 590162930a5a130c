"""What `embed`, `search` and `classify` leave out of folders is said, and nothing to do is a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.files import photos, run_here
from tests.commands.hostile import good_but, serving


@pytest.fixture
def url() -> Iterator[str]:
    """A service that answers all with the same: what is sent to it is not what is tested."""
    with serving(good_but({})) as (url, _):
        yield url


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder as a phone fills it."""
    folder = tmp_path / "phone"
    folder.mkdir()
    for number in range(12):
        (folder / f"IMG_{number:04}.DNG").write_bytes(b"II*\0")
    (folder / "clip.mov").write_bytes(b"1")
    (folder / ".hidden.txt").write_bytes(b"1")
    return folder


def commands(folder: Path, out: Path, url: str) -> list[list[str | Path]]:
    return [
        ["embed", folder, "--index", out, "--url", url],
        ["search", folder, "a cat", "--url", url],
        ["classify", folder, "--labels", "cat,dog", "--url", url],
    ]


def test_a_folder_of_raw_photos_fails_and_its_files_are_counted_by_suffix(
    raw: Path, tmp_path: Path, url: str
) -> None:
    for command in commands(raw, tmp_path / "a.sqlite", url):
        status, output, errors = run_here(*command)
        assert (status, output) == (1, ""), command
        assert "no image was found" in errors
        assert (
            "Skipped 12 .dng, 1 .mov. Name a file to force it. Frames of videos: --every SECONDS." in errors
        )
    assert list(tmp_path.iterdir()) == [raw]


def test_what_is_left_out_beside_images_is_said_and_is_no_failure(tmp_path: Path, url: str) -> None:
    folder = photos(tmp_path / "photos", 1)
    for name in ("a.raw", "notes", "b.x1", "b.x2", "b.x3", "b.x4", "b.x5"):
        (folder / name).write_bytes(b"1")
    (folder / "more.raw").write_bytes(b"1")
    for command in commands(folder, tmp_path / "a.sqlite", url):
        status, _, errors = run_here(*command)
        assert status == 0, command
        assert "Skipped 2 .raw, 1 " in errors
        assert ", and files of 2 more suffixes." in errors


def test_where_nothing_is_found_the_rows_of_before_stay(tmp_path: Path, url: str) -> None:
    folder, out = photos(tmp_path / "photos", 2), tmp_path / "a.sqlite"
    assert run_here("embed", folder, "--index", out, "--url", url)[0] == 0
    before = out.read_bytes()
    for file in folder.rglob("*.jpg"):
        file.unlink()
    for more in ((), ("--prune",)):
        assert run_here("embed", folder, "--index", out, "--url", url, *more)[0] == 1
        assert out.read_bytes() == before
        assert sorted(tmp_path.iterdir()) == [out, folder]
