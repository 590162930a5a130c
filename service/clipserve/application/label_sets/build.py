"""The builds of this gateway, which make the embeddings of label sets and store them.

The gateway where a set was put builds it at once. The others wait for its embeddings, and build it after a minute:
the one may be gone. Two that build the same store the same, and whoever finds that the other has done so ends.
"""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from clipserve.access.gate import when_there_is_room
from clipserve.application.label_sets.definition import Definition, version_of
from clipserve.application.label_sets.pieces import Piece, encode, pieces_of
from clipserve.application.label_sets.served import LabelSet, Rows, ServedSet, row_type
from clipserve.application.label_sets.store import Store
from clipserve.errors import (
    ClipError,
    InvalidInput,
    LabelSetFailed,
    PermissionDenied,
    StoreUnavailable,
    Unauthenticated,
)  # fmt: skip
from clipserve.quota import Quota
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, caller, task_context

T = TypeVar("T")
Charge = Callable[[int], Awaitable[None]]

_PROMPTS = 256  # of a piece: a quarter of a second of a slow encoder, after which an unwanted build can end
_EXAMPLES = 16  # an image takes as long as some prompts
_AT_A_TIME = 2  # pieces
_AGAIN_SECONDS = 2.0  # after a try that may succeed later
_OTHERS_SECONDS = 60.0  # of the gateway where a set was put
_LOOK_SECONDS = 0.25
_UNIT = 0.01  # of a length of 1; encoders may compute in few bits
_EMBEDDINGS = re.compile(r"(?P<name>.+)\.(?P<digest>[0-9a-f]{32})\.(?P<version>[0-9a-f]{16})\.npy")
_OLD_NS = 30 * 86_400 * 10**9


@dataclass(frozen=True)
class Builds:
    """The builds of this gateway. It encodes two pieces at a time, for which callers take turns.

    So a small set does not wait for a large one. `listing`: what the store has, as far as is known. `note`: called
    after each try. `charge`: takes rows from the rate of the key that pays; None: free.
    """

    store: Store
    metrics: Metrics
    listing: Callable[[], Mapping[str, str]]
    note: Callable[[], None]
    charge: Charge | None
    _running: Quota = field(default_factory=partial(Quota, "builds", _AT_A_TIME))

    async def take(self, label_set: LabelSet, putter: str | None) -> None:
        """Serve a set that is built or has trained weights; else build it, and serve the former one meanwhile.

        `putter`: the caller who put it here, and whose turns its build takes; None: it was not put here.

        Raises StoreUnavailable.
        """
        record, former = label_set.record, label_set.record.former
        label_set.served = await self._stored(label_set, record.digest, record.definition) or label_set.served
        if label_set.served is None and former:
            label_set.served = await self._stored(label_set, former.digest, former.definition)
        if label_set.built:
            return
        if not record.definition.fits(label_set.fingerprint):
            error = LabelSetFailed(
                f"its weights were trained for {record.definition.expect_fingerprint}, and {label_set.fingerprint} "
                "is served: train them again and put the set again, or serve the former model."
            )
            label_set.fail(error, final=True)
            logger.warning("label_set_not_built", label_set=label_set.name, reason=error.detail)
            return
        request = RequestContext(f"label-set-{label_set.version}", address=putter or "", bulk=True)
        request.digest, request.scope = label_set.payer, "manage"
        running = self._run(label_set, put_here=putter is not None)
        label_set.task = asyncio.create_task(running, context=task_context(request))
        label_set.task.add_done_callback(
            lambda _: setattr(label_set, "task", None)
        )  # its frames hold the set

    async def tidy(self, name: str, label_set: LabelSet | None) -> None:
        """Delete the embeddings of this name that are of no definition of the set, and old ones of other models.

        Raises StoreUnavailable.
        """
        now, unused, digests, own = time.time_ns(), list[str](), set[str](), set[str | None]()
        listing = await self.store.listing()
        if label_set and (label_set.read_only or f"{name}.json" in listing):  # else it was just deleted
            former = label_set.record.former
            digests = {label_set.record.digest, former.digest if former else ""}
            own = {label_set.version, label_set.served_version}
        for file, written in listing.items():
            if (embeddings := _EMBEDDINGS.fullmatch(file)) and embeddings["name"] == name:
                is_old = now - int(written.split()[0]) > _OLD_NS and embeddings["version"] not in own
                if is_old or embeddings["digest"] not in digests:
                    unused.append(file)
        await self.store.delete(unused)

    async def _run(self, label_set: LabelSet, *, put_here: bool) -> None:
        """Build a set, again and again while that may succeed later."""
        about = {"label_set": label_set.name, "version": label_set.version}
        progress, began = _Progress(), time.monotonic()
        while not label_set.built and not label_set.final:
            outcome: str | None
            try:
                outcome = "ok" if await self._build(label_set, progress, put_here=put_here) else None
                logger.info("label_set_built", **about, seconds=round(time.monotonic() - began, 3))
            except ClipError as error:
                outcome = error.code
                label_set.fail(error, final=isinstance(error, InvalidInput | LabelSetFailed))
                logger.warning("label_set_not_built", **about, reason=error.detail)
            except Exception:  # a fault of ours must not be tried for ever, nor end the service
                outcome = ClipError.code
                label_set.fail(ClipError("the service failed unexpectedly."), final=True)
                logger.exception("label_set_not_built", **about)
            self.note()
            if outcome:
                self.metrics.label_set_built(outcome, time.monotonic() - began)
            if label_set.failure and not label_set.final:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _build(self, label_set: LabelSet, progress: _Progress, *, put_here: bool) -> bool:
        """Serve a set when there are all its embeddings. False: another gateway has made them."""
        record, model, name = label_set.record, label_set.model, label_set.name
        file = _file(name, record.digest, label_set.version)
        others = 0.0
        if not put_here and record.pays_for == label_set.version:  # else nobody is asked to build it
            others = record.put + _OTHERS_SECONDS - time.time()
        until = time.monotonic() + min(others, _OTHERS_SECONDS)  # of clocks that differ
        while file not in self.listing() and time.monotonic() < until:
            await asyncio.sleep(_LOOK_SECONDS)
        for position, piece in enumerate(pieces_of(record)):
            if file in self.listing() and (
                found := await self._stored(label_set, record.digest, record.definition)
            ):
                label_set.served, label_set.failure = found, None
                return False
            if position == len(progress.made):
                progress.made.append(await self._made(label_set, piece, progress))
                label_set.done += piece.prompts
        rows = np.concatenate(progress.made)
        label_set.served = await asyncio.to_thread(
            ServedSet.of, name, record.digest, record.definition, rows, model
        )
        label_set.failure = None
        with suppress(StoreUnavailable):  # then the next start makes them again
            await self.store.write(file, await asyncio.to_thread(_to_bytes, rows))
            await self.tidy(name, label_set)
        return True

    async def _made(self, label_set: LabelSet, piece: Piece, progress: _Progress) -> Rows:
        """The embeddings of a piece. While their rows wait for the rate, others build."""
        if progress.paid == len(progress.made):
            await self._pay(piece.prompts + len(piece.examples))
            progress.paid += 1
        with self._running.lease(caller()) as turn:
            await turn.wait(1)
            return await encode(label_set.model, piece, truncate=label_set.definition.truncate)

    async def _pay(self, rows: int) -> None:
        """Charge rows one at a time, as soon as the rate has room.

        So a key can pay for more than its rate allows at once, and can still send other requests.

        Raises LabelSetFailed: the key was removed.
        """
        if self.charge is None:
            return
        try:
            for _ in range(rows):
                await when_there_is_room(partial(self.charge, 1))
        except (Unauthenticated, PermissionDenied):
            raise LabelSetFailed(
                "the key that put it was removed before its build was complete: put it again."
            ) from None

    async def _stored(self, label_set: LabelSet, digest: str, definition: Definition) -> ServedSet | None:
        """The set of a definition of this model whose embeddings are stored; trained weights need none.

        Raises StoreUnavailable, unless it is the set of a file that people write.
        """
        model, name, rows = (
            label_set.model,
            label_set.name,
            np.zeros(0, row_type(label_set.model.manifest.embed_dim)),
        )
        if definition.model != model.name or not definition.fits(model.fingerprint):
            return None
        if definition.weights is None:
            try:
                stored = await self.store.read(_file(name, digest, version_of(digest, model.fingerprint)))
                count = len(definition.names) + len(definition.examples)
                rows = await asyncio.to_thread(_rows, stored, count, rows.dtype)
            except ValueError:  # there are none, or they are damaged: they are made again
                return None
            except StoreUnavailable:
                if label_set.read_only:
                    return None
                raise
        return await asyncio.to_thread(ServedSet.of, name, digest, definition, rows, model)


@dataclass
class _Progress:
    """The pieces of a build that are made, and the number of those that are charged, made or not."""

    made: list[Rows] = field(default_factory=list)
    paid: int = 0


def _file(name: str, digest: str, version: str) -> str:
    return f"{name}.{digest}.{version}.npy"


def _to_bytes(rows: Rows) -> bytes:
    file = io.BytesIO()
    np.save(file, rows, allow_pickle=False)
    return file.getvalue()


def _rows(stored: bytes, count: int, row: np.dtype[Any]) -> Rows:
    """The embeddings, [count]. Raises ValueError: they are damaged, or of something else."""
    file = io.BytesIO(stored)
    np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0(file)  # before memory for an impossible size is taken
    rows = np.frombuffer(stored, row, count, file.tell())
    if header != ((count,), False, row) or not np.all(
        np.abs(np.linalg.norm(rows["vector"], axis=1) - 1) < _UNIT
    ):
        raise ValueError("no embeddings of this set")
    return rows
