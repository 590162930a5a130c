"""The answers so far, in a file, so that an evaluation that was killed can resume."""

from __future__ import annotations

import fcntl
import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.metrics import Floats


class Journal:
    """Rows of float32, [width] each, in the order of the items, behind a line of JSON that says what they answer.

    Attributes:
        kept: how many rows there were when it was opened.
    """

    def __init__(self, path: Path | None, about: Mapping[str, object], width: int) -> None:
        """`path`: None: a temporary file, which no other run can use.

        Raises:
            ModelsError: the file has answers to something else, or another process writes it.
        """
        self._width = width
        self._file: BinaryIO = tempfile.TemporaryFile() if path is None else path.open("a+b")  # noqa: SIM115
        try:
            _lock(self._file, path)
            self._start = self._head(path, {**about, "numbers": width})
        except ModelsError:
            self._file.close()
            raise
        self.kept = (self._file.seek(0, 2) - self._start) // (4 * width)
        self._file.truncate(self._start + self.kept * 4 * width)  # a row may have been cut short

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, row: Floats) -> None:
        """Append a row. The operating system has it when this returns, so a killed process loses no row."""
        self._file.write(row.astype("<f4").tobytes())
        self._file.flush()

    def rows(self) -> Floats:
        """All rows, float32 [N, width]."""
        self._file.seek(self._start)
        return np.frombuffer(self._file.read(), "<f4").reshape(-1, self._width)

    def _head(self, path: Path | None, about: Mapping[str, object]) -> int:
        """Where the rows begin. Raises ModelsError: the file is about another evaluation."""
        head = json.dumps(about).encode() + b"\n"
        self._file.seek(0)
        found = self._file.readline()
        if not found.endswith(b"\n"):  # new, or killed at once
            self._file.truncate(0)
            self._file.write(head)
        elif found != head:
            before = json.loads(found)
            other = ", ".join(name for name in about if before.get(name) != about[name])
            raise ModelsError(
                f"{path} has answers of another evaluation: {other} differ. Give another folder to --out, or start "
                "over with --restart."
            )
        return len(head)


def forget(path: Path) -> None:
    """Empty the file, if there is one. Raises ModelsError: another process writes it."""
    with suppress(FileNotFoundError), path.open("r+b") as file:
        _lock(file, path)
        file.truncate()


def _lock(file: BinaryIO, path: Path | None) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ModelsError(f"{path} is being written by another evaluation.") from None
