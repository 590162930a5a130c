"""The site that `make site` has built has every page, and loads nothing from another host."""

from __future__ import annotations

import html
import re

import pytest

from tests.docs import site
from tests.docs.foreign import Foreign, foreign_in_style
from tests.docs.markdown import ROOT, shown

HTML = site.SITE / "html"


def test_every_page_is_built() -> None:
    built = {path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html")}
    for page in [*site.pages(), *(ROOT / path for path in site.REFERENCES.values())]:
        name = shown(page).removesuffix(".md")
        folder = name.removesuffix("README").removesuffix("/") if page.name == "README.md" else name
        assert f"{folder}/index.html".removeprefix("/") in built


@pytest.mark.parametrize(
    ("title", "entries"),
    [
        ("REST", ["POST /classify", "expect_fingerprint", "wrong_fingerprint", "GET /label-sets/{name}"]),
        ("gRPC", ["EmbedStream", "PutLabelSetRequest"]),
        ("Commands", ["clipserve search", "clipserve models export", "--prune"]),
    ],
)
def test_a_reference_has_what_the_code_has(title: str, entries: list[str]) -> None:
    page = (HTML / site.REFERENCES[title]).with_suffix("") / "index.html"
    text = html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))
    assert [each for each in entries if each not in text] == []


def test_no_page_loads_anything_from_another_host() -> None:
    for path in HTML.rglob("*.html"):
        assert Foreign(path.read_text()).found == [], path
    for path in HTML.rglob("*.css"):
        assert foreign_in_style(path.read_text()) == [], path


def test_no_page_has_a_part_for_which_the_theme_would_load_a_script() -> None:
    for path in HTML.rglob("*.html"):
        assert not re.search(r"class=\"[^\"]*\b(?:mermaid|glightbox|pyodide)\b", path.read_text()), path
