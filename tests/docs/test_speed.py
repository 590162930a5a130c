"""The picture of the speeds is what its program draws from the present results."""

from __future__ import annotations

from tests.docs.speed import PICTURE, draw


def test_the_picture_of_the_speeds_shows_the_committed_results() -> None:
    assert PICTURE.read_text() == draw(), "draw it anew with: make docs"
