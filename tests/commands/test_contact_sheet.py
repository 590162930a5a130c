"""The page of a search."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from clipserve.commands.contact_sheet import contact_sheet, thumbnail
from tests.support.service import png


def test_names_are_escaped_pictures_are_inside_and_nothing_is_loaded(tmp_path: Path) -> None:
    name = '<script>alert("x")</script>&.png'
    (tmp_path / "a.png").write_bytes(png(size=(900, 300)))
    (tmp_path / "bad.png").write_bytes(b"no image")
    found = [
        (name, 0.5, tmp_path / "a.png"),
        ("bad", 0.4, tmp_path / "bad.png"),
        ("gone", 0.3, tmp_path / "gone.png"),
    ]
    page = contact_sheet("a <b>", "photos & more", found)
    assert "<script" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;.png" in page
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert page.count('aria-label="no picture"') == 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "color-scheme: light dark" in page
    assert len(page) < 40_000


def test_a_large_picture_of_16_bits_has_a_thumbnail(tmp_path: Path) -> None:
    Image.fromarray(np.full((900, 1_500), 100, np.uint16)).save(tmp_path / "a.png")
    with Image.open(io.BytesIO(thumbnail(tmp_path / "a.png", 100))) as picture:
        assert (picture.size, picture.getpixel((50, 30))) == ((100, 60), (100, 100, 100))
