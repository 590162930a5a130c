"""All pictures that are drawn by a program, by the name of their file in docs/pictures/."""

from __future__ import annotations

from collections.abc import Callable

from tests.docs.markdown import ROOT
from tests.docs.pictures import floors, request, speed

FOLDER = ROOT / "docs/pictures"
PICTURES: dict[str, Callable[[], str]] = {
    "architecture.svg": floors.draw,
    "request.svg": request.draw,
    "speed.svg": speed.draw,
}
