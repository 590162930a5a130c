"""Changes to a folder of files: what is wrong with it, in a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[Path], Any]


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), "utf-8")


def edit(folder: Path, where: str, value: Any = ...) -> None:
    """Set the value of a key in a JSON file, or remove it. `where`: `FILE KEY.KEY`."""
    file, keys = where.split(" ")
    whole = at = json.loads((folder / file).read_text("utf-8"))
    *way, last = keys.split(".")
    for key in way:
        at = at[key]
    at[last] = value
    if value is ...:
        del at[last]
    write_json(folder / file, whole)


def told(where: str, value: Any = ...) -> Change:
    """As `edit`."""
    return lambda folder: edit(folder, where, value)


def gone(*names: str) -> Change:
    def apply(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return apply


def holds(name: str, content: str | bytes) -> Change:
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw)


def cut(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-7])


def both(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]
