"""A file of text is UTF-8 wherever it is read or written, whatever the locale says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import ROOT

# Which positional argument is the encoding; of what opens also which is the mode.
TEXT = {"read_text": 0, "write_text": 1}
OPENERS = {"open": (3, 1), "fdopen": (3, 1)}
METHOD = (2, 0)  # path.open(mode, buffering, encoding)


def without_encoding(source: str) -> Iterator[int]:
    """Lines of calls that leave the encoding of a text to the locale."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(each.arg == "encoding" for each in node.keywords):
            continue
        method = isinstance(node.func, ast.Attribute)
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        places = METHOD if method and name == "open" else OPENERS.get(name)
        if len(node.args) <= TEXT.get(name, -1) or (places and _is_text(node, places)):
            yield node.lineno


def _is_text(call: ast.Call, places: tuple[int, int]) -> bool:
    """Whether it opens a text and names no encoding. Another `open` has no mode there."""
    encoding, place = places
    modes = [*call.args[place : place + 1], *(each.value for each in call.keywords if each.arg == "mode")]
    mode = modes[0].value if modes and isinstance(modes[0], ast.Constant) else None if modes else "r"
    return isinstance(mode, str) and bool(re.fullmatch("[rwaxt+]+", mode)) and len(call.args) <= encoding


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("path.read_text()", True),
        ("path.read_text(errors='replace')", True),
        ("path.read_text('utf-8')", False),
        ("path.write_text(text)", True),
        ("path.write_text(text, 'utf-8')", False),
        ("path.open()", True),
        ("path.open('w')", True),
        ("path.open('wb')", False),
        ("open(path)", True),
        ("open(path, 'rb')", False),
        ("open(path, encoding='utf-8')", False),
        ("os.fdopen(1, 'w')", True),
        ("Image.open(path)", False),
        ("os.open(path, os.O_RDONLY)", False),
        ("archive.open('vector.npy')", False),
    ],
)
def test_what_is_left_to_the_locale_is_found(source: str, bad: bool) -> None:
    assert bool(list(without_encoding(source))) is bad


def test_no_file_is_read_as_the_locale_says() -> None:
    files: list[Path] = [
        path for part in ("service", "models", "loadtests") for path in (ROOT / part).rglob("*.py")
    ]
    assert len(files) > 300
    found = [f"{path}:{line}" for path in files for line in without_encoding(path.read_text("utf-8"))]
    assert not found, "\n".join(found)
