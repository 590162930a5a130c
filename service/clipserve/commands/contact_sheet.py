"""Renders the results of a search as one self-contained HTML page: thumbnails, names, cosines."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import ImageOps

from clipserve.client.images import read_file
from clipserve.clip.formats import FORMATS, OPTIONAL, sniff
from clipserve.clip.images import ImageLimits, opened, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.commands.vectors.files import Found

_SIDE = 320  # pixels of a thumbnail's longer side
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 2rem; background: Canvas; color: CanvasText; }
main { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }
figure { margin: 0; }
img, .none { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: color-mix(in srgb,
  CanvasText 8%, Canvas); }
figcaption { margin-top: .4rem; overflow-wrap: anywhere; }
b { font-variant-numeric: tabular-nums; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
<h1>{title}</h1>
<p>{about}</p>
<main>
{figures}
</main>
</html>
"""


def contact_sheet(title: str, about: str, found: Iterable[tuple[Found, Path | None]]) -> str:
    """The page. `found`: each result with its file, if it is an image; a deleted file has no thumbnail."""
    figures = [
        f"<figure>{_picture(path)}<figcaption><b>{row.cosine:.3f}</b> {_name(row.name)}</figcaption></figure>"
        for row, path in found
    ]
    return _PAGE.format(
        title=html.escape(title), about=html.escape(about), style=_STYLE, figures="\n".join(figures)
    )


def _name(path: str) -> str:
    """A path that breaks lines after separators, and inside a word only without any."""
    return re.sub(r"([/\\_.-]+)(?=.)", r"\1<wbr>", html.escape(path))


def thumbnail(path: Path, side: int) -> bytes:
    """An upright JPEG of at most this many pixels on its longer side, within the limits of a service.

    Raises:
        Exception: from a decoder, as in `clipserve.clip.images`.
    """
    file, known = io.BytesIO(), FORMATS | OPTIONAL
    image = read_file(path)
    read_header(image, ImageSpec(size=side), ImageLimits(image_formats=tuple(known)))
    with opened(sniff(image, known), image) as picture:
        picture.draft("RGB", (2 * side, 2 * side))
        upright = ImageOps.exif_transpose(picture)
        upright.thumbnail((side, side))
        upright.convert("RGB").save(file, "JPEG", quality=80)
    return file.getvalue()


def _picture(path: Path | None) -> str:
    """A thumbnail; empty for a text."""
    if path is None:
        return ""
    try:
        picture = thumbnail(path, _SIDE)
    except Exception:  # from a decoder
        return '<div class="none" role="img" aria-label="no picture"></div>'
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
