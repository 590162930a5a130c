"""The floors of the service, as the table in ARCHITECTURE.md has them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from tests.docs.markdown import ROOT
from tests.docs.pictures.svg import Drawing

# Pixels: the whole, the column of what is beside all floors, between floors, a line of text.
_WIDTH, _SIDE, _GAP, _LINE = 760, 132, 18, 17
_CHARACTERS = 78  # of a line of names in a floor


@dataclass(frozen=True)
class Floor:
    """One row of the table. `files`: folders end with a slash; `knows`: what it knows."""

    name: str
    files: list[str]
    knows: str


def floors(architecture: str) -> list[Floor]:
    """The rows of the table, from top to bottom; what is beside all is the last."""
    table = re.search(r"^\| floor \| folder \| .*\n\| [-| ]+\n((?:\|.*\n)+)", architecture, re.MULTILINE)
    assert table, "ARCHITECTURE.md has no table of floors"
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]
    return [
        Floor(name, re.findall(r"`([^`]+)`", files), knows.strip("| ").replace("`", ""))
        for name, files, knows in rows
    ]


def draw() -> str:
    """The picture: a box for each floor, and one beside all."""
    *stack, beside = floors((ROOT / "ARCHITECTURE.md").read_text())
    drawing = Drawing("The floors of the service: imports point downward only", _WIDTH)
    width = _WIDTH - _SIDE - 3 * 8
    y = 8.0
    for i, floor in enumerate(stack):
        lines = textwrap.wrap("  ".join(floor.files), _CHARACTERS)
        height = 34 + _LINE * (len(lines) + 1)
        drawing.box(8, y, width, height, "ours" if floor.name == "application" else "")
        drawing.words(20, y + 22, floor.name, "head")
        for number, line in enumerate(lines):
            drawing.words(20, y + 22 + _LINE * (number + 1), line, "code")
        drawing.words(20, y + height - 10, f"knows {floor.knows}", "small")
        y += height
        if i < len(stack) - 1:
            drawing.arrow(8 + width / 2, y, 8 + width / 2, y + _GAP)
            y += _GAP
    left = 16 + width
    drawing.box(left, 8, _SIDE, y - 8)
    drawing.words(left + 12, 30, beside.name, "head")
    for number, name in enumerate(beside.files):
        drawing.words(left + 12, 30 + _LINE * (number + 1), name, "code")
    about = textwrap.wrap(f"knows {beside.knows}", 18)
    for number, line in enumerate(about):
        drawing.words(left + 12, 30 + _LINE * (number + 2 + len(beside.files)), line, "small")
    return drawing.text()
