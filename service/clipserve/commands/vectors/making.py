"""A file of vectors, from its first item to its last, over any number of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipserve.client.methods import AsyncMethods
from clipserve.commands.progress import Shown
from clipserve.commands.vectors.embedding import embed_into
from clipserve.commands.vectors.files import write_vectors
from clipserve.commands.vectors.journal import Journal
from clipserve.commands.vectors.listing import Item
from clipserve.commands.vectors.rows import Kind
from clipserve.concurrency import DaemonExecutor

SHOWN_FAILURES = 20


@dataclass(frozen=True)
class VectorSource:
    """What is to be embedded. `items`: lists it anew at each call. `countable`: it can be listed twice."""

    kind: Kind
    items: Callable[[], Iterator[Item]]
    countable: bool = True


@dataclass(frozen=True)
class Made:
    """What the finished file has.

    Attributes:
        count: rows; `failed`: of these, without a vector; `others`: not named by this run, from an earlier one.
        embedded: by this run, without those that have failed.
        failures: the first that have failed: name, code, detail.
    """

    count: int
    failed: int
    others: int
    embedded: int
    failures: Sequence[tuple[str, str, str]]


async def make_file(
    clip: AsyncMethods,
    source: VectorSource,
    out: Path,
    *,
    truncate: bool = False,
    restart: bool = False,
    prune: bool = False,
) -> Made:
    """Embed what `out` and its journal do not have yet, then put the finished file in the place of `out`.

    When this ends early, what was embedded is in the journal, and the next call goes on. `truncate`: cut
    texts that are too long. `restart`: from nothing. `prune`: leave out rows that `source` does not name.

    Raises:
        ClipserveError: see `embed_into`.
        VectorFileError: the journal or `out` cannot be used, or has vectors of another fingerprint or model.
        OSError: the disk is full, for example.
    """
    journal = Journal(out, source.kind, await clip.served_by(), restart=restart)
    try:
        with Shown(f"{source.kind}s") as shown, DaemonExecutor(1, "count") as counter:
            if source.countable:
                counter.submit(_count, source, shown)
            await embed_into(journal, clip, source.items(), shown, truncate=truncate)
        finished = journal.finish(prune=prune)
        write_vectors(out, finished)
        embedded = shown.done - shown.kept - shown.failed
        failures = finished.failures(SHOWN_FAILURES)
        made = Made(finished.count, finished.failed, finished.others, embedded, failures)
    finally:
        journal.close()
    journal.remove()
    return made


def _count(source: VectorSource, shown: Shown) -> None:
    """How many items there are, while the first are embedded."""
    total = 0
    for _ in source.items():
        if shown.ended:
            return
        total += 1
    shown.total = total
