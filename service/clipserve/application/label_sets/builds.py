"""The builds of this gateway.

How it works. A build takes each part of a definition from the cache, or encodes it and puts it there. Nothing is
locked, and no gateway knows of another: whoever finds a part missing makes it. So a build that was cut off, here or
at a gateway that is gone, goes on where it was, and gateways that build the same set share its parts, each in an
order of its own. For some seconds the gateway where a set was put has it to itself; most are built by then.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from clipserve.access.gate import when_there_is_room
from clipserve.application.label_sets.definition import Contents, Definition, version_of
from clipserve.application.label_sets.encoding import encode
from clipserve.application.label_sets.entry import LabelSet
from clipserve.application.label_sets.parts import Part, PartEmbeddings, parts_of
from clipserve.application.label_sets.served_set import served_set
from clipserve.application.label_sets.shelf import Shelf
from clipserve.errors import (
    ClipError,
    InvalidInput,
    LabelSetFailed,
    PermissionDenied,
    StoreUnavailable,
    Unauthenticated,
)
from clipserve.quota import Quota
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, caller, task_context

Charge = Callable[[int], Awaitable[None]]

_AT_A_TIME = 2  # parts
_AGAIN_SECONDS = 2.0  # after a build that may succeed later
_HEAD_START_SECONDS = 5.0  # of the gateway where a set was put
_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class _Build:
    """The build of one set. `found`: the embeddings so far. `paid`: parts that are charged, made or not."""

    label_set: LabelSet
    contents: Contents
    put_here: bool
    found: dict[Part, PartEmbeddings] = field(default_factory=dict)
    paid: set[Part] = field(default_factory=set)


@dataclass(frozen=True)
class Builds:
    """Encodes two parts at a time, for which callers take turns. So a small set does not wait for a large one.

    `note`: called after each build. `charge`: takes rows from the rate of the key that pays; None: free.
    """

    shelf: Shelf
    metrics: Metrics
    note: Callable[[], None]
    charge: Charge | None
    _running: Quota = field(default_factory=partial(Quota, "builds", _AT_A_TIME))

    async def take(self, label_set: LabelSet, contents: Contents, putter: str | None) -> None:
        """Serve a set that is built or has trained weights; else build it, and serve the former one meanwhile.

        `contents`: of the set. `putter`: the caller who put it here, and whose turns its build takes; None: it was
        not put here.
        """
        definition, former = contents.definition, contents.former
        await self._serve_stored(label_set, label_set.digest, definition)
        if label_set.served is None and former and label_set.pointer:
            await self._serve_stored(label_set, label_set.pointer.former or "", former)
        if label_set.built:
            return
        if not definition.fits(label_set.fingerprint):
            error = LabelSetFailed(
                f"its weights were trained for {definition.expect_fingerprint}, and {label_set.fingerprint} is "
                "served: train them again and put the set again, or serve the former model."
            )
            label_set.fail(error, final=True)
            logger.warning("label_set_not_built", label_set=label_set.name, reason=error.detail)
            return
        request = RequestContext(f"label-set-{label_set.version}", address=putter or "", bulk=True)
        request.digest, request.scope = label_set.payer, "manage"
        running = self._run(_Build(label_set, contents, putter is not None))
        label_set.task = asyncio.create_task(running, context=task_context(request))

    async def _serve_stored(self, label_set: LabelSet, digest: str, definition: Definition) -> None:
        """Serve a definition of this model if all its embeddings are stored; trained weights need none."""
        if definition.model == label_set.model.name and definition.fits(label_set.fingerprint):
            parts = parts_of(definition)
            found = await self._stored(label_set, digest, parts)
            if len(found) == len(parts):
                await _serve(label_set, digest, definition, [found[part] for part in parts])

    async def _stored(
        self, label_set: LabelSet, digest: str, parts: Sequence[Part]
    ) -> dict[Part, PartEmbeddings]:
        """The embeddings in the cache; none while the store is unavailable."""
        with suppress(StoreUnavailable):
            version = version_of(digest, label_set.fingerprint)
            return await self.shelf.embeddings(digest, version, parts, label_set.model.manifest.embed_dim)
        return {}

    async def _run(self, build: _Build) -> None:
        """Until it is served, or can never be."""
        label_set = build.label_set
        about = {"label_set": label_set.name, "version": label_set.version}
        while not (label_set.built or label_set.final):
            began = label_set.began = time.monotonic()
            try:
                outcome = await self._build(build)
                logger.info("label_set_built", **about, seconds=round(time.monotonic() - began, 2))
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
            if label_set.state == "failed" and not label_set.final:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _build(self, build: _Build) -> str | None:
        """Serve a set when there are all its embeddings. `ok`; None: other gateways have made them."""
        label_set, found = build.label_set, build.found
        missing = parts = parts_of(label_set.definition)
        while True:
            found |= await self._stored(label_set, label_set.digest, missing)
            missing = [part for part in parts if part not in found]
            label_set.done = sum(part.prompts for part in found)
            if not missing or build.put_here or not label_set.is_fresh(_HEAD_START_SECONDS):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        if not build.put_here:
            random.shuffle(missing)  # another gateway may build it too
        for part in missing:
            found[part] = await self._made(build, part)
            label_set.done += part.prompts
        await _serve(label_set, label_set.digest, label_set.definition, [found[part] for part in parts])
        return "ok" if missing else None

    async def _made(self, build: _Build, part: Part) -> PartEmbeddings:
        """The embeddings of a part. While their rows wait for the rate, others build."""
        label_set = build.label_set
        if part not in build.paid:
            await self._pay(part.prompts + part.images)
            build.paid.add(part)
        with self._running.lease(caller()) as turn:
            await turn.wait(1)
            stored = await self._stored(label_set, label_set.digest, [part])
            if part in stored:  # another gateway has made it meanwhile
                return stored[part]
            made = await encode(label_set.model, build.contents, part)
        with suppress(StoreUnavailable):  # then whoever needs it next makes it again
            await self.shelf.add(label_set.digest, label_set.version, part, made)
        return made

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


async def _serve(
    label_set: LabelSet, digest: str, definition: Definition, parts: Sequence[PartEmbeddings]
) -> None:
    """`parts`: the embeddings of all parts of the definition."""
    label_set.served = await asyncio.to_thread(
        served_set, label_set.name, digest, definition, parts, label_set.model
    )
    label_set.failure = None
