"""Draws the results of a search as one page of HTML with thumbnails, which loads nothing."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import ImageOps

from clipserve.client.images import read_file
from clipserve.clip.formats import FORMATS, OPTIONAL, sniff
from clipserve.clip.images import ImageLimits, opened, read_header
from clipserve.clip.manifest import ImageSpec

_SIDE = 320  # pixels of a thumbnail's longer side
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }}
main {{ display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }}
figure {{ margin: 0; overflow-wrap: anywhere; }}
img, i {{ display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #8882; }}
</style>
<h1>{title}</h1><p>{about}</p><main>{figures}</main></html>
"""


def contact_sheet(title: str, about: str, found: Iterable[tuple[str, float, Path]]) -> str:
    """The page. `found`: the name, the cosine and the file of each result."""
    figures = "\n".join(
        f"<figure>{_picture(path)}<figcaption><b>{cosine:.3f}</b> {html.escape(name)}</figcaption></figure>"
        for name, cosine, path in found
    )
    return _PAGE.format(title=html.escape(title), about=html.escape(about), figures=figures)


def thumbnail(path: Path, side: int) -> bytes:
    """An upright JPEG of at most this many pixels a side, within a service's limits. Raises any error."""
    file, known, image = io.BytesIO(), FORMATS | OPTIONAL, read_file(path)
    read_header(image, ImageSpec(size=side), ImageLimits(image_formats=tuple(known)))
    with opened(sniff(image, known), image) as picture:
        picture.draft("RGB", (2 * side, 2 * side))
        upright = ImageOps.exif_transpose(picture).convert("RGB")  # Pillow reduces no picture of 16 bits
        upright.thumbnail((side, side))
        upright.save(file, "JPEG", quality=80)
    return file.getvalue()


def _picture(path: Path) -> str:
    try:
        content = base64.b64encode(thumbnail(path, _SIDE)).decode()
    except Exception:  # from a decoder: deleted or broken
        return '<i role="img" aria-label="no picture"></i>'
    return f'<img alt="" src="data:image/jpeg;base64,{content}">'
