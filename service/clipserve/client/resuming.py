"""Embeds image files that an index lacks, so that a program that was ended goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from clipserve.client.errors import ItemFailed, changed
from clipserve.client.index import Facts, Index, Row
from clipserve.client.results import Embeddings, ServedBy

_AT_A_TIME = 256  # images between two commits


async def resumed(
    paths: Sequence[str | Path],
    place: str | Path,
    served: ServedBy,
    embed: Callable[[Sequence[str]], Awaitable[Embeddings]],
    progress: Callable[[int, int], object],
) -> Embeddings:
    """The vector of each file. Those that are in the index, unchanged, are taken from it, and the others are added.

    Raises IndexUnusable: it has vectors of another model, or another process writes it.
    """
    names = [os.fspath(path) for path in paths]
    facts = Facts(served.model, served.fingerprint, served.embed_dim)
    vectors = np.full((len(names), served.embed_dim), np.nan, np.float32)
    errors: dict[int, ItemFailed] = {}
    with closing(Index(Path(place))) as index:
        index.check(facts)
        known, lacking = await asyncio.to_thread(index.known), []
        for at, name in enumerate(names):
            if name in known and known[name] == (*_stamp(name), ""):
                vectors[at] = index.vector(name)
            else:
                lacking.append(at)
        done = len(names) - len(lacking)
        progress(done, len(names))
        if lacking:
            await asyncio.to_thread(index.begin, facts)
        for some in (lacking[first : first + _AT_A_TIME] for first in range(0, len(lacking), _AT_A_TIME)):
            made = await embed([names[at] for at in some])
            if made.fingerprint != served.fingerprint:
                raise changed(made.fingerprint, served.fingerprint)
            vectors[some] = made.vectors
            errors |= {some[number]: error for number, error in made.errors.items()}
            rows = [Row(names[at], *_stamp(names[at]), vector=vectors[at]) for at in some]
            for number, error in made.errors.items():
                rows[number] = rows[number]._replace(code=error.code, detail=error.detail, vector=None)
            await asyncio.to_thread(index.store, rows)
            done += len(some)
            progress(done, len(names))
    return Embeddings(vectors, served.fingerprint, errors)


def _stamp(name: str) -> tuple[int, int]:
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns
