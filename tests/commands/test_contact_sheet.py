"""The page of a search."""

from __future__ import annotations

import re
from pathlib import Path

from clipserve.commands.contact_sheet import contact_sheet
from clipserve.commands.vectors.files import Found
from tests.support import png


def test_names_are_escaped_pictures_are_inside_and_nothing_is_loaded(tmp_path: Path) -> None:
    name = '<script>alert("x")</script>&.png'
    (tmp_path / "a.png").write_bytes(png(size=(900, 300)))
    (tmp_path / "bad.png").write_bytes(b"no image")
    found = [
        (Found(name, 0.5), tmp_path / "a.png"),
        (Found("bad", 0.4), tmp_path / "bad.png"),
        (Found("gone", 0.3), tmp_path / "gone.png"),
        (Found("a text", 0.2), None),
    ]
    page = contact_sheet("a <b>", "photos & more", found)
    assert "<script" not in page
    escaped = "&lt;script&gt;alert(&quot;x&quot;)&lt;/<wbr>script&gt;&amp;.<wbr>png"
    assert escaped in page
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert page.count('class="none"') == 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "color-scheme: light dark" in page
    assert len(page) < 40_000
