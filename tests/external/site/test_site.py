"""The site that `make site` has built has every page, and loads nothing from another host."""

from __future__ import annotations

import re

from tests.docs import site
from tests.docs.foreign import Foreign, foreign_in_style
from tests.docs.markdown import shown

HTML = site.SITE / "html"


def test_every_page_is_built() -> None:
    built = {path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html")}
    for page in site.pages():
        name = shown(page).removesuffix(".md")
        folder = name.removesuffix("README").removesuffix("/") if page.name == "README.md" else name
        assert f"{folder}/index.html".removeprefix("/") in built


def test_no_page_loads_anything_from_another_host() -> None:
    for path in HTML.rglob("*.html"):
        assert Foreign(path.read_text()).found == [], path
    for path in HTML.rglob("*.css"):
        assert foreign_in_style(path.read_text()) == [], path


def test_no_page_has_a_part_for_which_the_theme_would_load_a_script() -> None:
    for path in HTML.rglob("*.html"):
        assert not re.search(r"class=\"[^\"]*\b(?:mermaid|glightbox|pyodide)\b", path.read_text()), path
