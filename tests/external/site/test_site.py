"""The site that `make site` has built has every page, and loads nothing from another host."""

from __future__ import annotations

import re

import pytest

from tests.docs.site import SITE, pages

HTML = SITE / "html"


def test_every_page_is_built() -> None:
    assert len(list(HTML.rglob("index.html"))) == len(pages()) + 3


@pytest.mark.parametrize(
    ("page", "entries"),
    [
        ("rest", ['"../swagger-ui-bundle.js"', '"/label-sets/{name}"', "expect_fingerprint"]),
        ("grpc", ["EmbedStream", "PutLabelSetRequest"]),
        ("commands", ["clipserve search", "clipserve models export", "--prune"]),
    ],
)
def test_a_reference_has_what_the_code_has(page: str, entries: list[str]) -> None:
    text = (HTML / "docs/reference" / page / "index.html").read_text()
    assert [each for each in entries if each not in re.sub(r"</?span.*?>", "", text)] == []


def test_no_page_loads_anything_from_another_host() -> None:
    loads = re.compile(
        r"<(?!a\b)[a-z]+\b[^>]*\s(?:src|srcset|href)=\"(?:https?:)?//|url\([\"']?(?:https?:)?//"
    )
    for path in [*HTML.rglob("*.html"), *HTML.rglob("*.css")]:
        assert not loads.search(path.read_text()), path
