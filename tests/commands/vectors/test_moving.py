"""Frames of moving GIF, PNG and WebP in `embed`, `search` and `classify`."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipserve.client.errors import ItemFailed
from clipserve.commands.vectors import frames, listing, moving
from tests.process import ROOT

SUFFIXES = ("gif", "png", "apng", "webp")
COLORS = ("red", "lime", "blue")
SECONDS = (0.3, 1.5, 0.7)  # of each color


def moving_image(path: Path, pictures: list[Image.Image], seconds: list[float]) -> Path:
    kind = "PNG" if path.suffix == ".apng" else None
    milliseconds = [round(each * 1_000) for each in seconds]
    pictures[0].save(
        path, kind, save_all=True, append_images=pictures[1:], duration=milliseconds, lossless=True
    )
    return path


@pytest.fixture(params=SUFFIXES)
def colors(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    pictures = [Image.new("RGB", (64, 48), color) for color in COLORS]
    return str(moving_image(tmp_path / f"colors.{request.param}", pictures, [*SECONDS]))


def color_of(jpeg: bytes) -> str:
    with Image.open(io.BytesIO(jpeg)) as image:
        assert (image.format, image.size) == ("JPEG", (64, 48))
        return COLORS[int(np.asarray(image).mean(axis=(0, 1)).argmax())]


@pytest.mark.parametrize(
    ("every", "taken"),
    [
        (0, [0, 0.3, 1.8]),
        (0.1, [0, 0.3, 1.8]),  # none twice, however long it is shown
        (0.5, [0, 0.5, 2.0]),
        (1, [0, 1, 2]),
        (100, [0]),
    ],
)
def test_times_follow_the_durations_and_no_frame_is_taken_twice(
    colors: str, every: float, taken: list[float]
) -> None:
    assert [*frames.times(colors, every)] == pytest.approx(taken)


@pytest.mark.parametrize(("at", "number"), [(0, 0), (0.29, 0), (0.3, 1), (1.79, 1), (1.8, 2), (99, 2)])
def test_a_frame_is_the_one_that_is_shown_at_its_time(colors: str, at: float, number: int) -> None:
    assert color_of(frames.frame(colors, at)) == COLORS[number]


def test_frames_of_several_passes_are_those_of_one(tmp_path: Path) -> None:
    pictures = [Image.new("L", (8, 8), number * 3) for number in range(80)]
    path = str(moving_image(tmp_path / "grey.webp", pictures, 80 * [0.1]))
    times = [at for at in frames.times(path, 0) if at is not None]
    greys = [int(np.asarray(Image.open(io.BytesIO(frames.frame(path, at)))).mean()) for at in times]
    np.testing.assert_allclose(greys, [number * 3 for number in range(80)], atol=2)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_still_image_stays_an_image(tmp_path: Path, suffix: str) -> None:
    still = tmp_path / f"still.{suffix}"
    Image.new("RGB", (8, 8), "red").save(still, "PNG" if suffix == "apng" else None)
    (item,) = listing.images([str(tmp_path)], Counter(), str(tmp_path), every=1)
    assert (item.key, item.at, item.image()) == (still.name, None, still.read_bytes())


def test_without_an_interval_a_moving_image_is_its_first_frame(colors: str) -> None:
    (item,) = listing.images([colors], Counter())
    assert (item.key, item.image()) == (colors, Path(colors).read_bytes())


Size = tuple[int, int]


def gif(count: int, size: Size = (1, 1), first: Size = (1, 1), last: Size = (1, 1), delay: int = 1) -> bytes:
    """A GIF of so many frames, with the sizes of its canvas and frames; `delay`: hundredths of a second."""
    head = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    control = b"!\xf9\x04\x08" + struct.pack("<HBB", delay, 0, 0)

    def frame(size: Size) -> bytes:
        return control + b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02\x02\x44\x01\0"

    return head + frame(first) + frame((1, 1)) * (count - 2) + frame(last) + b";"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gif(3_000), "more than 2,000 frames of 1 x 1"),
        (gif(600, (1_000, 1_000)), "more than 500 frames of 1000 x 1000"),
    ],
    ids=["frames", "pixels"],
)
def test_what_is_over_a_limit_is_one_row_with_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bomb.gif"
    path.write_bytes(data)
    (item,) = listing.images([str(path)], Counter(), str(tmp_path), every=0.01)
    with pytest.raises(ItemFailed, match=message) as failed:
        item.image()
    assert failed.value.code == "image_too_large"


def test_a_frame_that_claims_years_has_one_row(tmp_path: Path) -> None:
    path = tmp_path / "slow.gif"
    path.write_bytes(gif(100, delay=65_535))
    assert len([*frames.times(str(path), 0.001)]) == 100


MEASURED = """
import sys, time
from collections import Counter
from pathlib import Path
from clipserve.client.errors import ItemFailed
from clipserve.clip.images import configure_pillow
from clipserve.commands.vectors.listing import images

configure_pillow()
failed = 0
for item in images(sys.argv[1:], Counter(), every=1):
    try:
        failed += item.at is None or not item.image()
    except ItemFailed:
        failed += 1
status = Path("/proc/self/status").read_text().splitlines()
print(failed, next(line.split()[1] for line in status if line.startswith("VmHWM")), time.process_time())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_bomb_of_frames_takes_little_memory_and_time(tmp_path: Path) -> None:
    """Of 700,000 frames in 16 MB, and of first or later frames that are larger than the canvas by any amount."""
    huge = (65_535, 65_535)
    bombs = [gif(700_000), gif(2, huge), gif(2, first=huge), gif(2, last=huge), gif(3, last=huge)]
    for number, bomb in enumerate(bombs):
        (tmp_path / f"{number}.gif").write_bytes(bomb)
    command: list[str | Path] = [sys.executable, "-c", MEASURED, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    failed, kilobytes, seconds = (float(value) for value in done.stdout.split())
    assert failed == 5
    assert kilobytes < 400_000
    assert seconds < 60


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_file_that_is_cut_short_ends_or_fails_alone(colors: str, share: float) -> None:
    whole = Path(colors).read_bytes()
    Path(colors).write_bytes(whole[: int(len(whole) * share)])
    rows, codes = [*listing.images([colors], Counter(), every=1)], set()
    for row in rows:
        try:
            row.image()
        except ItemFailed as error:
            codes.add(error.code)
    assert 1 <= len(rows) <= 3
    assert codes <= {"undecodable_image"}


def test_a_changed_file_has_its_new_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    for second, color in enumerate(COLORS):
        pictures = [Image.new("RGB", (64, 48), color), Image.new("RGB", (64, 48), "white")]
        moving_image(path, pictures, [1, 1])
        os.utime(path, (second, second))  # the clock of a file system may stand for a few milliseconds
        assert color_of(moving.frame(str(path), 0)) == color
