"""Prints the output of commands, escaped so that the terminal interprets no foreign text."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import zip_longest

# C0, DEL and C1; characters of writing direction; line separators; lone surrogates.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF  # `os.fsdecode` of bytes that are not UTF-8


def visible(text: str) -> str:
    """The text in one line, with escapes such as `\\x1b` or `\\u202e` for what a terminal would interpret."""
    return _UNSEEN.sub(_escape, text)


def say(*columns: str, err: bool = False) -> None:
    """Print and flush a line of columns separated by tabs; escape what the terminal cannot encode."""
    stream = sys.stderr if err else sys.stdout
    line = "\t".join(map(visible, columns))
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def say_table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print rows: with the header and in columns in a terminal, else separated by tabs."""
    if not sys.stdout.isatty():
        for row in rows:
            say(*row)
        return
    shown = [[visible(cell) for cell in row] for row in ([header] if header else []) + [*rows]]
    widths = [max(map(len, column)) for column in zip_longest(*shown, fillvalue="")]
    for row in shown:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip())


def say_json(value: object, *, indent: int | None = None) -> None:
    """Print a value as JSON, which every parser reads as the same value."""
    all_of_it = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=not all_of_it, indent=indent)
    for line in text.split("\n"):
        say(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        return f"\\x{code - 0xDC00:02x}"
    return found[0].encode("unicode_escape", "backslashreplace").decode()
