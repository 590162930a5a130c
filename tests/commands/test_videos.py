"""Frames of videos in `embed`, `search` and `classify`."""

from __future__ import annotations

import json
import re
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from clipserve.client.errors import ItemFailed
from clipserve.client.index import Index
from clipserve.commands.vectors import frames, listing
from clipserve.commands.vectors.places import NAME
from tests.commands.files import run_here
from tests.support.process import ROOT, Process

SIZE, RATE = (160, 120), 10


def still(picture: Image.Image) -> av.VideoFrame:
    frame: av.VideoFrame = av.VideoFrame.from_image(picture.resize(SIZE))  # type: ignore[no-untyped-call]
    return frame.reformat(format="yuv420p")


def film(path: Path, seconds: int, scenes: dict[int, Image.Image]) -> Path:
    """A grey film; at each of these seconds another picture begins, which stays for a second."""
    grey = still(Image.new("RGB", SIZE, "grey"))
    stills = {second: still(picture) for second, picture in scenes.items()}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.gop_size = 25
        for number in range(seconds * RATE):
            frame = stills.get(number // RATE, grey)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    with Image.open(ROOT / "docs" / "cat.jpg") as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cat: Image.Image) -> Path:
    """A minute of film in a folder, with a cat from 40 to 41 seconds, beside a photo."""
    folder = tmp_path_factory.mktemp("videos")
    film(folder / "film.mp4", 60, {40: cat, 20: Image.new("RGB", SIZE, "red")})
    Image.new("RGB", SIZE, "blue").save(folder / "photo.png")
    return folder


def test_a_search_finds_the_scene_and_says_its_second(folder: Path, demo_process: Process) -> None:
    search = ("search", folder, "a cat", "--top", "1", "--url", demo_process.url)
    status, output, errors = run_here(*search, "--every", "1")
    assert (status, output.split()[-1]) == (0, "film.mp4#t=40"), errors
    expected = [*(f"film.mp4#t={second}" for second in range(60)), "photo.png"]
    assert names(folder) == expected
    # Frames stay in the index of a later search that does not ask for any, and go with their video.
    status, output, _ = run_here(*search)
    assert (status, output.split()[-1]) == (0, "film.mp4#t=40")
    assert names(folder) == expected
    (folder / "film.mp4").rename(folder / "kept")
    assert run_here(*search)[0] == 0
    assert names(folder) == ["photo.png"]
    (folder / "kept").rename(folder / "film.mp4")


def names(folder: Path) -> list[str]:
    with closing(Index(folder / NAME)) as index:
        return sorted(index.known(), key=lambda name: (name[:1], len(name), name))


@pytest.mark.parametrize(
    ("seconds", "side", "said"),
    [
        pytest.param(
            600_000, 160,
            "the video has 600,000 frames, one in 1 s of 600,000 s. Take fewer: --every 30. "
            "The limit is 20,000 frames.",
            id="frames",
        ),
        pytest.param(
            10, 8_192,
            "the video has frames of 8192 x 8192. Make a smaller video of it. The limit is 35,389,440 pixels.",
            id="pixels",
        ),
    ],
)  # fmt: skip
def test_what_a_video_claims_is_bounded_before_a_frame_is_decoded(
    seconds: int, side: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    codec = SimpleNamespace(width=side, height=side, options={})
    streams = SimpleNamespace(video=[SimpleNamespace(codec_context=codec)])
    container = SimpleNamespace(
        streams=streams, duration=seconds * av.time_base
    )  # it decodes nothing: it cannot
    monkeypatch.setattr(av, "open", lambda _: nullcontext(container))
    (item,) = listing.images([str(tmp_path)], listing.Met(), every=1)
    with pytest.raises(ItemFailed, match=re.escape(said)):
        item.image()


def test_a_timeline_has_a_row_for_each_time(folder: Path) -> None:
    words = ["--labels", "a cat,a plain color", "--every", "20", "--json"]
    status, output, _ = run_here("classify", folder / "film.mp4", *words)
    rows = [json.loads(line) for line in output.splitlines()]
    times = [row["path"].partition("#t=")[2] for row in rows]
    assert (status, times) == (0, ["0", "20", "40"])
    assert [row["labels"][0]["label"] for row in rows] == ["a plain color", "a plain color", "a cat"]


def test_a_file_that_is_no_video_fails_alone(tmp_path: Path, cat: Image.Image) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    whole = film(tmp_path / "whole.mp4", 3, {1: cat}).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    status, output, _ = run_here("classify", tmp_path, "--labels", "a,b", "--every", "1", "--json")
    rows = [json.loads(line) for line in output.splitlines()]
    assert [Path(row["path"]).name for row in rows] == [
        "broken.mp4#t=0",
        "cut.mkv#t=0",
        *(f"whole.mp4#t={second}" for second in range(3)),
    ]
    assert [row.get("error", {}).get("code") for row in rows] == 2 * ["undecodable_image"] + 3 * [None]
    assert status == 1


@pytest.mark.parametrize("at", [0.0, 19.95, 20.0, 20.85, 40.5, 100.0])
def test_a_frame_is_the_one_that_is_shown_at_its_time(tmp_path: Path, folder: Path, at: float) -> None:
    (tmp_path / "a.jpg").write_bytes(frames.frame(str(folder / "film.mp4"), at))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.size == SIZE
        red, green, _ = np.asarray(image).mean(axis=(0, 1))
    assert (red - green > 100) == (20 <= at < 21)
