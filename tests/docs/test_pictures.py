"""The pictures of the documents are what their programs draw from the present facts."""

from __future__ import annotations

import pytest

from tests.docs.markdown import documents, links
from tests.docs.pictures.pictures import FOLDER, PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_its_program_draws(name: str) -> None:
    assert (FOLDER / name).read_text() == PICTURES[name](), "draw it anew with: make docs"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_shown_by_a_document(name: str) -> None:
    shown = {
        (document.parent / path).resolve()
        for document in documents()
        for path, _ in links(document.read_text())
        if path
    }
    assert FOLDER / name in shown
