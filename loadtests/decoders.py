"""Decoders of JPEG beside Pillow as the service uses it: CPU time of an image, and how far their pixels are.

They have an environment of their own, as peers have (`peers/decoders.txt`), and take turns at each photo in one
process. `peers/decoders_table.py` is the program that runs there.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import ExifTags, Image

from loadtests.bodies import photo
from loadtests.peers.environments import CannotPrepare, install
from loadtests.report import table

_JPEG = (".jpg", ".jpeg")
_LIES = 6  # the EXIF orientation of a phone that was held upright
_SETS: dict[str, tuple[tuple[int, int], int] | None] = {  # a size and an orientation
    "as they are": None,
    "640 x 480": ((640, 480), 1),
    "4000 x 3000": ((4000, 3000), 1),
    "4000 x 3000, lying": ((4000, 3000), _LIES),
}
_TABLE = Path(__file__).with_name("peers") / "decoders_table.py"


def decoders(
    photos: Annotated[
        Path | None, typer.Argument(help="A folder with JPEGs; without it one photo of scikit-image's.")
    ] = None,
    count: Annotated[int, typer.Option(help="Take so many of them.")] = 12,
    rounds: Annotated[int, typer.Option(help="Of each photo; medians of all are printed.")] = 3,
    environments: Annotated[Path, typer.Option(help="The peers' virtual environments.")] = Path(".peers"),
) -> None:
    """CPU milliseconds from JPEG to 224 x 224 pixels by several decoders, and their distance from the service."""
    found = sorted(each for each in photos.iterdir() if each.suffix.lower() in _JPEG) if photos else []
    try:
        programs = install("decoders", environments)
    except CannotPrepare as error:
        raise typer.BadParameter(str(error)) from None
    with tempfile.TemporaryDirectory() as temporary:
        _write([each.read_bytes() for each in found[:count]] or [photo(4000, 3000)], Path(temporary))
        measured = subprocess.run(
            [programs / "python", _TABLE, temporary, str(rounds)],
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
            stdout=subprocess.PIPE,
            check=True,
        )
    typer.echo(decoders_table(json.loads(measured.stdout)))


def _write(photos: list[bytes], folder: Path) -> None:
    """Sets of photos, each in a folder: as they are, and of each size and orientation."""
    for name, made in _SETS.items():
        Path(folder, name).mkdir()
        for number, data in enumerate(photos):
            Path(folder, name, f"{number:04}.jpg").write_bytes(_resized(data, *made) if made else data)


def _resized(data: bytes, size: tuple[int, int], orientation: int) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.open(io.BytesIO(data)).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=85, exif=exif)
    return file.getvalue()


def decoders_table(measured: dict[str, Any]) -> str:
    """`measured`: what `decoders_table.py` prints."""
    sets = list(dict.fromkeys(row["photos"] for row in measured["rows"]))
    of: dict[str, dict[str, Any]] = {}
    for row in measured["rows"]:
        of.setdefault(row["way"], {})[row["photos"]] = row
    head = ["CPU ms an image (largest, mean difference)", *sets]
    rows = [[way, *(_cell(own.get(each)) for each in sets)] for way, own in of.items()]
    lines = [f"{name} {version}" for name, version in measured["versions"].items()]
    lines += [f"Left out: {name}: {reason}" for name, reason in measured["missing"].items()]
    return "\n".join([table(head, rows), "", *lines])


def _cell(row: dict[str, Any] | None) -> str:
    return f"{row['ms']:.2f} ({row['largest']}, {row['mean']:.2f})" if row else ""
