"""Draws the pictures of the documents: `make docs`."""

from __future__ import annotations

from tests.docs.pictures.pictures import FOLDER, PICTURES

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw())
