"""Vectors in the stores of other programs, each of one fingerprint: docs/fingerprint.md has the convention."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipserve.client.blocking import Blocking
from clipserve.client.errors import FingerprintChanged, ItemFailed
from clipserve.client.results import Embeddings, ServedBy
from clipserve.errors import WrongFingerprint

if TYPE_CHECKING:
    from psycopg import Connection
    from qdrant_client import QdrantClient

_TABLE = """CREATE EXTENSION IF NOT EXISTS vector;
            CREATE TABLE {table} (id text PRIMARY KEY, {column} vector({dim}) NOT NULL);
            CREATE INDEX ON {table} USING hnsw ({column} vector_cosine_ops)"""
_COMMENT = """SELECT coalesce(col_description(attrelid, attnum), '') FROM pg_attribute
              WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped"""


def open_collection(qdrant: QdrantClient, name: str, clip: Blocking) -> ServedBy:
    """Make a collection of Qdrant, or check the one that is there; `clip` then gives only vectors of its model.

    Its metadata keep the fingerprint. An empty collection without one gets it. Raises FingerprintChanged: the
    collection is of another model, or nothing says of which.
    """
    from qdrant_client import models

    served = clip.pin()
    metadata = {"fingerprint": served.fingerprint}

    def kept() -> str | None:
        return (qdrant.get_collection(name).config.metadata or {}).get("fingerprint")

    if not qdrant.collection_exists(name):
        params = models.VectorParams(size=served.embed_dim, distance=models.Distance.COSINE)
        qdrant.create_collection(name, vectors_config=params, metadata=metadata)
    elif kept() is None and not qdrant.count(name).count:
        qdrant.update_collection(name, metadata=metadata)
    return _checked(served, kept(), f"the collection {name}", "its metadata, which Qdrant has since 1.16")


def open_table(db: Connection[Any], name: str, clip: Blocking, column: str = "vector") -> ServedBy:
    """Make a table (`id`, `column`), or check the one that is there; `clip` then gives only vectors of its model.

    The comment of the column keeps the fingerprint. An empty table without one gets it. `name` may be SCHEMA.NAME.
    The connection then takes arrays as vectors, by the package pgvector. Raises FingerprintChanged, as above.
    """
    from pgvector.psycopg import register_vector
    from psycopg import sql
    from psycopg.rows import tuple_row

    served, table = clip.pin(), sql.Identifier(*name.split("."))
    parts = {"table": table, "column": sql.Identifier(column), "dim": sql.Literal(served.embed_dim)}
    relation = table.as_string(db)
    with db.transaction(), db.cursor(row_factory=tuple_row) as cursor:
        if cursor.execute("SELECT to_regclass(%s)", (relation,)).fetchone() == (None,):
            cursor.execute(sql.SQL(_TABLE).format(**parts))
        (comment,) = cursor.execute(_COMMENT, (relation, column)).fetchone() or ("",)
        kept = next(iter(re.findall(r"\bfingerprint: (\S+)", comment)), None)
        one = cursor.execute(sql.SQL("SELECT {column} FROM {table} LIMIT 1").format(**parts)).fetchone()
        if kept is None and one is None:
            kept = served.fingerprint
            parts["comment"] = sql.Literal(f"{comment} fingerprint: {kept}".strip())
            cursor.execute(sql.SQL("COMMENT ON COLUMN {table}.{column} IS {comment}").format(**parts))
    _checked(served, kept, f"the table {name}", f"the comment of its column {column} (fingerprint: NAME)")
    register_vector(db)
    return served


def open_beside(store: str | Path, clip: Blocking) -> ServedBy:
    """Check what is saved as the file or folder `store`; `clip` then gives only vectors of its model.

    The file `STORE.fingerprint` keeps the fingerprint; it is made while there is no store. Raises
    FingerprintChanged, as above, and OSError.
    """
    served, file = clip.pin(), Path(f"{Path(store)}.fingerprint")
    if not file.exists() and not Path(store).exists():
        with suppress(FileExistsError), file.open("x", encoding="utf-8") as made:  # else another was first
            made.write(f"{served.fingerprint}\n")
    kept = file.read_text("utf-8").strip() if file.exists() else None
    return _checked(served, kept, str(store), f"the file {file}")


def rows(embeddings: Embeddings) -> list[list[float]]:
    """The vectors, for libraries without errors of items. Raises ItemFailed: an item has none."""
    for position, error in embeddings.errors.items():
        raise ItemFailed(f"item {position}: {error.detail}", error.code, error.request_id)
    return embeddings.vectors.tolist()  # type: ignore[no-any-return]


def _checked(served: ServedBy, kept: str | None, store: str, place: str) -> ServedBy:
    """The model. Raises FingerprintChanged unless its fingerprint is the one that `store` keeps in `place`."""
    if kept == served.fingerprint:
        return served
    detail = (
        f"{store} has vectors of {kept}, and {served.model} makes those of {served.fingerprint}: vectors of the "
        "two cannot be compared. Use the model of the store, or embed everything again into another store."
        if kept
        else f"{store} has no fingerprint in {place}: if its vectors are of {served.fingerprint}, write it there; "
        "otherwise embed everything again into another store."
    )
    raise FingerprintChanged(detail, WrongFingerprint.code)
