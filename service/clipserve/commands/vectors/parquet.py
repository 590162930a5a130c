"""Reads and writes files of vectors as Parquet, with pyarrow, which the extra `parquet` installs.

Columns `path` or `text`, `width`, `height`, `vector` (float32 [D], null without a vector), `error` and `detail`
(null with a vector), `bytes`, `modified`; `fingerprint` and `model` in the schema's metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow
from pyarrow import parquet

from clipserve.commands.vectors.files import CHUNK, Columns, Facts, Finished
from clipserve.commands.vectors.listing import Kind

opened = parquet.ParquetFile
DAMAGED = (pyarrow.ArrowException,)
_COLUMNS = "named(key), width, height, vector, nullif(code, ''), nullif(detail, ''), size, modified"


def write(file: BinaryIO, table: Finished) -> None:
    """Write all rows of `table`."""
    facts = table.facts
    schema = pyarrow.schema(
        [
            (facts.named_by, pyarrow.string()),
            ("width", pyarrow.int32()),
            ("height", pyarrow.int32()),
            ("vector", pyarrow.list_(pyarrow.float32(), facts.embed_dim)),
            ("error", pyarrow.string()),
            ("detail", pyarrow.string()),
            ("bytes", pyarrow.int64()),
            ("modified", pyarrow.int64()),
        ],
        {"fingerprint": facts.fingerprint, "model": facts.model},
    )
    with parquet.ParquetWriter(file, schema) as writer:
        for chunk in table.chunks(_COLUMNS):
            columns = dict(zip(schema.names, zip(*chunk, strict=True), strict=True))
            columns["vector"] = tuple(vector and np.frombuffer(vector, "<f4") for vector in columns["vector"])
            writer.write_table(pyarrow.Table.from_pydict(columns, schema))


def read_facts(file: parquet.ParquetFile) -> Facts:
    """The facts of a file."""
    schema = file.schema_arrow
    about = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    kind: Kind = "text" if "text" in schema.names else "image"
    return Facts(kind, about["model"], about["fingerprint"], schema.field("vector").type.list_size)


def read_rows(file: parquet.ParquetFile, facts: Facts) -> Iterator[Columns]:
    """All rows, in pieces."""
    for batch in file.iter_batches(CHUNK):
        column = batch.column("vector")
        there = np.asarray(column.is_valid())
        vectors = np.zeros((len(there), facts.embed_dim), np.float32)
        vectors[there] = column.drop_null().flatten().to_numpy().reshape(-1, facts.embed_dim)
        listed = {name: batch.column(name).to_pylist() for name in batch.schema.names if name != "vector"}
        yield Columns(
            listed[facts.named_by],
            listed["width"],
            listed["height"],
            vectors,
            [code or "" for code in listed["error"]],
            [detail or "" for detail in listed["detail"]],
            listed["bytes"],
            listed["modified"],
        )
