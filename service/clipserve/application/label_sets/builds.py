"""The builds of this gateway.

How it works. A build is one loop. It waits for the next embeddings, and reports: it stores those so far, and a row
of `builds` that is a lease, with the gateway that builds and the time when the lease ends. Other gateways wait. If
the gateway dies, another continues from there when the lease has ended, or the same one when it starts again. There
are no locks: if two gateways begin at the same moment, the one whose row was overwritten stops at its next report.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial

from clipserve.access.gate import when_there_is_room
from clipserve.application.label_sets.definition import version_of
from clipserve.application.label_sets.encoding import encode
from clipserve.application.label_sets.entry import LabelSet
from clipserve.application.label_sets.paying import Charge
from clipserve.application.label_sets.records import Build, Weights
from clipserve.application.label_sets.shelf import Shelf
from clipserve.application.label_sets.trained import of_other_model
from clipserve.application.taking_turns import Turns
from clipserve.concurrency import or_none
from clipserve.errors import ClipError, InvalidInput, LabelSetFailed, RateLimited, StoreUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, caller, task_context

CANNOT_BE_READ = "its stored data cannot be read: put it again, or delete it."

_SMALL = 2_000  # prompts: a second or two
_REPORT_SECONDS = 1.0
_RENEW_SECONDS = 5.0
_AGAIN_SECONDS = 2.0  # after a build that may succeed later, and to see whether another gateway still builds
_LEASE_SECONDS = 15.0


class Builds:
    """Runs two builds at a time, so that a small set does not wait for a large one. Callers take turns."""

    def __init__(
        self, shelf: Shelf, metrics: Metrics, note: Callable[[], None], charge: Charge | None
    ) -> None:
        """`note`: called after each build. `charge`: see `Account`."""
        self._shelf = shelf
        self._metrics = metrics
        self._note = note
        self._charge = charge
        self._owner = uuid.uuid4().hex
        self._small, self._large = Turns(1), Turns(1)
        self.putters: dict[str, str] = {}  # name -> the caller who put it here, whose turns its build takes

    def announced(self, digest: str, prompts: int) -> Build:
        """The row of a build that this gateway is about to begin."""
        until = time.time() + _LEASE_SECONDS
        return Build(digest=digest, total=prompts, owner=self._owner, until=until)

    def is_elsewhere(self, build: Build | None) -> bool:
        """Whether another gateway holds the lease of this build."""
        if build is None or build.owner == self._owner:
            return False
        return not build.finished and build.until > time.time()

    async def take(self, label_set: LabelSet) -> None:
        """Serve a set that is built or has trained weights; else build it, and serve the previous one meanwhile."""
        trained = label_set.definition.weights is not None
        await (label_set.serve(label_set.digest, label_set.definition) if trained else self.look(label_set))
        if label_set.served is None and label_set.pointer and label_set.pointer.previous:
            await self._serve_former(label_set, label_set.pointer.previous)
        if trained and not label_set.ready:
            error = of_other_model(label_set.definition, label_set.fingerprint)
            label_set.fail(error, final=True)
            logger.warning("label_set_not_built", label_set=label_set.name, reason=error.detail)
        elif not label_set.ready:
            self._start(label_set)

    async def look(self, label_set: LabelSet) -> bool:
        """Serve a set that is built. Whether it is to be built here: nobody has, and no other gateway does."""
        build = await self._row(label_set)
        if build and build.finished:
            await label_set.serve(label_set.digest, label_set.definition, await self._stored(label_set))
        label_set.elsewhere = self.is_elsewhere(build)
        if build and label_set.elsewhere:
            label_set.done = build.done
        return not label_set.ready and not label_set.elsewhere

    async def tidy(self, label_set: LabelSet) -> None:
        """Delete what was stored of other definitions, and of former versions once this one is ready."""
        used, served = label_set.definition.rows(label_set.digest), label_set.served
        if served and not label_set.ready:
            used |= served.definition.rows(served.digest)
        with suppress(StoreUnavailable):  # what is left is found the next time
            built = label_set.version if label_set.ready else None
            await self._shelf.drop_unused(label_set.name, used, built)

    def _start(self, label_set: LabelSet) -> None:
        """Build it in a task, which is then `label_set.task`."""
        label_set.account.charge = self._charge
        request = RequestContext(
            f"label-set-{label_set.version}", address=self.putters.get(label_set.name, ""), bulk=True
        )
        request.digest, request.scope = label_set.payer, "manage"
        label_set.task = asyncio.create_task(self._run(label_set), context=task_context(request))

    async def _run(self, label_set: LabelSet) -> None:
        """Until it is served, or can never be."""
        while not label_set.ready and not label_set.final:
            began = label_set.began = time.monotonic()
            outcome = await self._outcome(label_set)
            self._note()
            if outcome:
                self._metrics.label_set_built(outcome, time.monotonic() - began)
            await (self.tidy(label_set) if outcome == "ok" else asyncio.sleep(_AGAIN_SECONDS))

    async def _outcome(self, label_set: LabelSet) -> str | None:
        """Of a build: `ok`, or the code of an error. None: another gateway builds it."""
        said = {"label_set": label_set.name, "version": label_set.version}
        try:
            weights = await self._weights(label_set)
            if weights is None:
                return None
            await label_set.serve(label_set.digest, label_set.definition, weights)
        except ClipError as error:
            label_set.fail(error, final=isinstance(error, InvalidInput | LabelSetFailed))
            logger.warning("label_set_not_built", **said, reason=error.detail)
            return error.code
        except Exception:  # a fault of ours must not be tried for ever, nor end the service
            label_set.fail(ClipError("the service failed unexpectedly."), final=True)
            logger.exception("label_set_not_built", **said)
            return "internal_error"
        logger.info("label_set_built", **said, seconds=round(time.monotonic() - label_set.began, 2))
        return "ok"

    async def _weights(self, label_set: LabelSet) -> Weights | None:
        """Of all names. None: another gateway works on them, or has built them."""
        async with AsyncExitStack() as turn:
            turns = self._small if label_set.prompts <= _SMALL else self._large
            await turn.enter_async_context(turns.turn(caller()))
            if not await self.look(label_set):  # it has waited for its turn
                return None
            label_set.encoded(weights := await self._stored(label_set))
            await self._report(label_set)
            images, paid = partial(self._images, label_set), partial(self._paid, label_set, turn, turns)
            pieces = encode(label_set.model, label_set.definition, weights, images, paid)
            return await self._reported(label_set, weights, pieces)

    async def _reported(
        self, label_set: LabelSet, weights: Weights | None, pieces: AsyncGenerator[Weights, None]
    ) -> Weights | None:
        """The last of `pieces`. Each second it stores the latest, and renews the lease while one takes long."""
        stored, last = weights, time.monotonic()
        try:
            async with aclosing(or_none(pieces, _RENEW_SECONDS)) as steps:
                async for more in steps:
                    weights = more or weights
                    label_set.encoded(weights)
                    if time.monotonic() - last > _REPORT_SECONDS:
                        if not await self._still_reports(label_set, None if weights is stored else weights):
                            return None
                        stored, last = weights, time.monotonic()
            await self._report(label_set, weights)
        except BaseException:
            with suppress(StoreUnavailable):
                await self._report(label_set, weights, seconds=0.0)  # another may go on at once
            raise
        return weights

    @asynccontextmanager
    async def _paid(
        self, label_set: LabelSet, turn: AsyncExitStack, turns: Turns, rows: int
    ) -> AsyncIterator[None]:
        """Charge rows, which are encoded in this block. While they wait for their rate, others build."""
        account = label_set.account
        try:
            await account.require(rows)
        except RateLimited:
            await turn.aclose()
            await when_there_is_room(partial(account.require, rows))
            await turn.enter_async_context(turns.turn(caller()))
        yield
        account.spend(rows)

    async def _images(self, label_set: LabelSet) -> Mapping[str, bytes]:
        """The files of its examples, by their SHA-256."""
        if label_set.images is not None:
            return label_set.images
        digests = label_set.definition.examples
        images = await self._shelf.images(label_set.name, digests)
        if images.keys() != set(digests):
            raise LabelSetFailed(CANNOT_BE_READ)
        return images

    async def _still_reports(self, label_set: LabelSet, weights: Weights | None = None) -> bool:
        """False: another gateway has reported since this one did: it works on the set, or has built it."""
        build = await self._row(label_set)
        if build and build.owner != self._owner and (build.finished or self.is_elsewhere(build)):
            return False
        await self._report(label_set, weights)
        return True

    async def _row(self, label_set: LabelSet) -> Build | None:
        with _needed_by(label_set):
            return await self._shelf.build(label_set.name, label_set.version)
        return None

    async def _stored(self, label_set: LabelSet) -> Weights | None:
        with _needed_by(label_set):
            name, version, dim = label_set.name, label_set.version, label_set.dim
            return await self._shelf.weights(name, version, label_set.definition, dim)
        return None

    async def _serve_former(self, label_set: LabelSet, digest: str) -> None:
        """Until the new definition is built."""
        name, model = label_set.name, label_set.model
        with suppress(ValueError):  # it is not there, or damaged
            definition = await self._shelf.definition(name, digest)
            version = version_of(digest, model.fingerprint)
            if definition.model == model.name:
                weights = await self._shelf.weights(name, version, definition, label_set.dim)
                await label_set.serve(digest, definition, weights)

    async def _report(
        self, label_set: LabelSet, weights: Weights | None = None, seconds: float = _LEASE_SECONDS
    ) -> None:
        """`weights`: those to store; None: the same as before. `seconds`: of the lease."""
        build = Build(
            digest=label_set.digest,
            total=label_set.prompts,
            done=label_set.done,
            owner=self._owner,
            until=time.time() + seconds,
            of_file=label_set.read_only,
        )
        with _needed_by(label_set):
            await self._shelf.report(label_set.name, label_set.version, build, weights)


@contextmanager
def _needed_by(label_set: LabelSet) -> Iterator[None]:
    """Around calls of the store. A file is here again at the next start, so that its build needs no store."""
    try:
        yield
    except StoreUnavailable:
        if not label_set.read_only:
            raise
