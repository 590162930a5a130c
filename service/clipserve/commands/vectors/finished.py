"""The rows of a journal that become a file, read again for each of its arrays."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from clipserve.commands.vectors.listing import text_of
from clipserve.commands.vectors.rows import CHUNK, Columns, Facts


class Finished:
    """The rows of a file that is to be written, read again for each array, a piece at a time."""

    def __init__(self, database: sqlite3.Connection, facts: Facts, run: int) -> None:
        self.facts = facts
        self._database = database
        (self.count,) = self._one("count(*) FROM ordered")
        (self.others,) = self._one("count(*) FROM ordered JOIN rows USING (id) WHERE run != ?", run)
        (self.failed,) = self._one("count(*) FROM ordered JOIN rows USING (id) WHERE code != ''")

    def chunks(self, columns: str, where: str = "true") -> Iterator[list[tuple[Any, ...]]]:
        """These columns of `rows` (and `vector`, `place`), so many rows at a time, in order."""
        query = (
            f"SELECT {columns} FROM ordered CROSS JOIN rows USING (id) LEFT JOIN vectors USING (id) WHERE {where} "  # noqa: S608
            "ORDER BY place"
        )
        with closing(self._database.execute(query)) as cursor:
            while rows := cursor.fetchmany(CHUNK):
                yield rows

    def batches(self) -> Iterator[Columns]:
        """All rows."""
        zeros = bytes(4 * self.facts.embed_dim)
        for chunk in self.chunks("key, width, height, size, modified, code, detail, vector"):
            keys, widths, heights, sizes, modified, codes, details, vectors = zip(*chunk, strict=True)
            array = np.frombuffer(b"".join(vector or zeros for vector in vectors), "<f4")
            yield Columns(
                [*map(self.name, keys)],
                [*zip(widths, heights, strict=True)],
                array.reshape(len(chunk), -1),
                codes,
                details,
                sizes,
                modified,
            )

    def failures(self, most: int) -> Sequence[tuple[str, str, str]]:
        """The first rows without a vector: name, code, detail."""
        chunk = next(self.chunks("key, code, detail", "code != ''"), [])
        return [(self.name(key), code, detail) for key, code, detail in chunk[:most]]

    def name(self, key: str) -> str:
        """What the file calls a row."""
        return text_of(key) if self.facts.kind == "text" else key

    def _one(self, query: str, *values: int) -> tuple[int, ...]:
        found: tuple[int, ...] = self._database.execute(f"SELECT {query}", values).fetchone()
        return found
