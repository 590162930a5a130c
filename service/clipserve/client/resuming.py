"""Embeds image files that an index lacks, so that a program that was ended goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from clipserve.client.errors import FingerprintChanged, ItemFailed
from clipserve.client.index import Facts, Index, Row
from clipserve.client.results import Embeddings, FloatRows, ServedBy
from clipserve.errors import WrongFingerprint

_AT_A_TIME = 256  # images between two commits

Embed = Callable[[Sequence[str]], Awaitable[Embeddings]]


async def resumed(
    paths: Iterable[str | Path],
    index: str | Path,
    served: ServedBy,
    embed: Embed,
    progress: Callable[[int, int], object],
) -> Embeddings:
    """The vector of each file. Those that are in the index, unchanged, are taken from it, and the others are added.

    Raises IndexUnusable: it has vectors of another model, or another process writes it.
    """
    names = [os.fspath(path) for path in paths]
    facts = Facts("image", served.model, served.fingerprint, served.embed_dim)
    vectors = np.full((len(names), served.embed_dim), np.nan, np.float32)
    errors: dict[int, ItemFailed] = {}
    with closing(Index(Path(index))) as opened:
        opened.check(facts)
        lacking = await asyncio.to_thread(_lacking, opened, names, vectors)
        done = len(names) - len(lacking)
        if lacking:
            progress(done, len(names))
            await asyncio.to_thread(opened.begin, facts)
        for first in range(0, len(lacking), _AT_A_TIME):
            some = lacking[first : first + _AT_A_TIME]
            found = await embed([names[position] for position in some])
            if found.fingerprint != served.fingerprint:
                raise FingerprintChanged(
                    f"the server makes vectors of {found.fingerprint} now, and {index} has those of "
                    f"{served.fingerprint}.",
                    WrongFingerprint.code,
                )
            vectors[some] = found.vectors
            errors |= {some[number]: error for number, error in found.errors.items()}
            rows = [_row(names[position], vectors[position], errors.get(position)) for position in some]
            await asyncio.to_thread(opened.store, rows)
            done += len(some)
            progress(done, len(names))
    return Embeddings(vectors, served.fingerprint, errors)


def _lacking(index: Index, names: Sequence[str], vectors: FloatRows) -> list[int]:
    """The positions of files without a vector; those of the others are filled in."""
    kept = {
        position: known.number
        for position, known in enumerate(index.known(names))
        if known and not known.code and (known.size, known.modified) == _stamp(names[position])
    }
    if kept:
        vectors[[*kept]] = index.vectors(kept.values())
    return [position for position in range(len(names)) if position not in kept]


def _stamp(name: str) -> tuple[int, int]:
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _row(name: str, vector: FloatRows, error: ItemFailed | None) -> Row:
    if error is not None:
        return Row(name, *_stamp(name), code=error.code, detail=error.detail)
    return Row(name, *_stamp(name), vector=vector)
