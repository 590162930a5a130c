"""The pictures of the documents are what their programs draw from the present facts."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.docs.markdown import documents, links
from tests.docs.pictures.pictures import FOLDER, PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_its_program_draws(name: str) -> None:
    assert (FOLDER / name).read_text() == PICTURES[name](), "draw it anew with: make docs"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_readable_on_light_and_on_dark_pages_and_has_a_title(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert ElementTree.fromstring(text).findtext("{http://www.w3.org/2000/svg}title")
    for scheme in ("light", "dark"):
        assert f"(prefers-color-scheme: {scheme})" in text


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_shown_by_a_document(name: str) -> None:
    shown = {
        (document.parent / path).resolve()
        for document in documents()
        for path, _ in links(document.read_text())
        if path
    }
    assert FOLDER / name in shown


def test_nothing_is_drawn_outside_of_a_picture() -> None:
    for name in PICTURES:
        root = ElementTree.fromstring((FOLDER / name).read_text())
        width, height = (float(root.attrib[side]) for side in ("width", "height"))
        for box in root.iter("{http://www.w3.org/2000/svg}rect"):
            x, y, w, h = (float(box.attrib[side]) for side in ("x", "y", "width", "height"))
            assert x >= 0
            assert x + w <= width
            assert y + h <= height
        for line in root.iter("{http://www.w3.org/2000/svg}text"):
            assert 0 <= float(line.attrib["y"]) <= height
