"""Measures decoding in this process: CPU time with Pillow's resize and with the service's own."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from clipserve.clip import fitting, resampling
from clipserve.clip.images import ImageLimits, configure_pillow, decode_rgb
from clipserve.clip.manifest import ImageSpec
from loadtests.bodies import photo
from loadtests.report import ms, table

SIZES = ((640, 480), (1024, 768), (4000, 3000))
SPEC, LIMITS = ImageSpec(size=224), ImageLimits()


def decode(
    files: Annotated[list[Path] | None, typer.Argument(help="Photos; else three sizes of one.")] = None,
    rounds: int = 9,
) -> None:
    """CPU time of a photo: only its resize and crop to 224 x 224, and with the decoding of JPEG."""
    configure_pillow()
    names = [f"{width} x {height}" for width, height in SIZES] if not files else [str(path) for path in files]
    photos = [path.read_bytes() for path in files] if files else [photo(*size) for size in SIZES]
    rows = [[name, *_cells(data, rounds)] for name, data in zip(names, photos, strict=True)]
    head = ("photo", "resize: Pillow ms", "ours ms", "ratio", "decoder: Pillow ms", "ours ms", "ratio")
    typer.echo(f"{table(head, rows)}\n\nOurs: {resampling.RESIZED_BY}. The pixels were compared.")


def _cells(data: bytes, rounds: int) -> list[str]:
    image = Image.open(io.BytesIO(data))
    image.load()
    alone = _medians(partial(fitting.fitted, image, SPEC), rounds)
    whole = _medians(partial(decode_rgb, data, SPEC, LIMITS), rounds)
    return [cell for theirs, own, ratio in (alone, whole) for cell in (ms(theirs), ms(own), f"{ratio:.1f}")]


def _medians(work: Callable[[], bytes], rounds: int) -> list[float]:
    """CPU seconds with Pillow and with our code, in turns, and their ratio."""
    own = resampling.RESIZED_BY
    found = []
    for _ in range(rounds):
        resampling.RESIZED_BY = "Pillow"
        theirs, expected = _timed(work)
        resampling.RESIZED_BY = own
        ours, made = _timed(work)
        assert made == expected
        found.append((theirs, ours, theirs / ours))
    return [statistics.median(column) for column in zip(*found, strict=True)]


def _timed(work: Callable[[], bytes]) -> tuple[float, bytes]:
    """The CPU seconds of one call, from a fifth of a second of calls."""
    started, calls = time.process_time(), 0
    while (taken := time.process_time() - started) < 0.2:
        made = work()
        calls += 1
    return taken / calls, made
