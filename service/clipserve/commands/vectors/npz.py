"""Exports an index as NumPy's .npz: arrays that `numpy.load` reads without pickle; docs/command-line.md lists them.

The arrays are in memory meanwhile.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from clipserve.client.index import Index


def export(index: Index, file: BinaryIO) -> None:
    """Write the file. Raises OSError."""
    facts = index.facts
    assert facts is not None
    rows = [row._replace(vector=None) for row in index.rows()]
    vectors = np.zeros((len(rows), facts.embed_dim), np.float32)
    for number, row in enumerate(index.rows()):
        if row.vector is not None:
            vectors[number] = row.vector
    failed = [number for number, row in enumerate(rows) if row.code]
    arrays: dict[str, Any] = {
        "path": np.array([row.name for row in rows], np.str_),
        "size": np.array([(row.width, row.height) for row in rows], np.int32).reshape(-1, 2),
        "vector": vectors,
        "error": np.array([row.code for row in rows], np.str_),
        "failed": np.array(failed, np.int64),
        "detail": np.array([rows[number].detail for number in failed], np.str_),
        "bytes": np.array([row.size for row in rows], np.int64),
        "modified": np.array([row.modified for row in rows], np.int64),
        "fingerprint": np.array(facts.fingerprint),
        "model": np.array(facts.model),
    }
    np.savez(file, **arrays)  # the same rows give the same bytes: entries have a fixed time
