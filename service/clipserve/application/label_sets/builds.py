"""The builds of this gateway.

How it works. Each report of progress stores the embeddings so far, and a row of `builds` that is a lease: it names
the gateway that builds, and when the lease ends. A task renews it while a piece takes long. Other gateways wait. If
the gateway dies, another continues from there when the lease has ended, or the same one when it starts again. There
are no locks: if two gateways begin at the same moment, the one whose row was overwritten stops at its next report.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from clipserve.application.label_sets.definition import version_of
from clipserve.application.label_sets.encoding import encode_examples, encode_prompts
from clipserve.application.label_sets.entry import LabelSet
from clipserve.application.label_sets.paying import Charge
from clipserve.application.label_sets.records import Build, Weights
from clipserve.application.label_sets.shelf import Shelf
from clipserve.application.label_sets.trained import of_other_model
from clipserve.concurrency import ended
from clipserve.errors import ClipError, InvalidInput, LabelSetFailed, RateLimited, StoreUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, task_context

CANNOT_BE_READ = "its stored data cannot be read: put it again, or delete it."

_SMALL = 2_000  # prompts: a second or two
_REPORT_SECONDS = 1.0
_RENEW_SECONDS = 5.0
_BELIEVED_SECONDS = 15.0  # without a report


class Builds:
    """Runs two builds at a time, so that a small set does not wait for a large one. Requests have priority."""

    def __init__(
        self, shelf: Shelf, metrics: Metrics, note: Callable[[], None], charge: Charge | None
    ) -> None:
        """`note`: called after each build. `charge`: see `Account`."""
        self._shelf = shelf
        self._metrics = metrics
        self._note = note
        self._charge = charge
        self._owner = uuid.uuid4().hex
        self._small, self._large = asyncio.Lock(), asyncio.Lock()

    def announced(self, digest: str, prompts: int) -> Build:
        """The row of a build that this gateway is about to begin."""
        until = time.time() + _BELIEVED_SECONDS
        return Build(digest=digest, total=prompts, owner=self._owner, until=until)

    def is_elsewhere(self, build: Build | None) -> bool:
        """Whether another gateway holds the lease of this build."""
        if build is None or build.owner == self._owner:
            return False
        return build.built is None and build.until > time.time()

    async def take(self, label_set: LabelSet) -> None:
        """Serve a set that is built or has trained weights; else build it, and serve the previous one meanwhile."""
        definition, build, weights = label_set.definition, None, None
        if definition.weights is None:
            build, weights = await self._stored(label_set)
        if definition.weights is not None or (build and build.built is not None):
            await label_set.serve(label_set.digest, definition, weights)
        if label_set.served is None and label_set.pointer and label_set.pointer.previous:
            await self._serve_former(label_set, label_set.pointer.previous)
        if label_set.ready:
            label_set.failure = None
        elif definition.weights is not None:
            error = of_other_model(definition, label_set.fingerprint)
            label_set.fail(error, final=True)
            logger.warning("label_set_not_built", label_set=label_set.name, reason=error.detail)
        elif build and self.is_elsewhere(build):
            label_set.done = build.done
        else:
            self._start(label_set)

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
            f"label-set-{label_set.version}", bulk=True, digest=label_set.payer, scope="manage"
        )
        label_set.task = asyncio.create_task(self._run(label_set), context=task_context(request))

    async def _run(self, label_set: LabelSet) -> None:
        try:
            await self._build(label_set)
        finally:
            if label_set.task is asyncio.current_task():  # else there is a new one in its place
                label_set.task = None
            self._note()
        if label_set.ready:
            await self.tidy(label_set)

    async def _build(self, label_set: LabelSet) -> None:
        said = {"label_set": label_set.name, "version": label_set.version}
        outcome, began = "ok", time.monotonic()
        label_set.began = began
        try:
            weights = await self._weights(label_set)
            if weights is None:
                return
            await label_set.serve(label_set.digest, label_set.definition, weights)
            label_set.failure = None
        except ClipError as error:
            outcome = error.code
            label_set.fail(error, final=isinstance(error, InvalidInput | LabelSetFailed))
            logger.warning("label_set_not_built", **said, reason=error.detail)
        except Exception:  # a fault of ours must not be tried for ever, nor end the service
            outcome = "internal_error"
            label_set.fail(ClipError("the service failed unexpectedly."), final=True)
            logger.exception("label_set_not_built", **said)
        seconds = time.monotonic() - began
        if outcome == "ok":
            logger.info("label_set_built", **said, seconds=round(seconds, 2))
        self._metrics.label_set_built(outcome, seconds)

    async def _weights(self, label_set: LabelSet) -> Weights | None:
        """Of all names. None: another gateway works on them, or the set has been replaced."""
        while True:
            try:
                async with self._small if label_set.prompts <= _SMALL else self._large:
                    return await self._go_on(label_set)
            except RateLimited:
                await label_set.account.save()

    async def _go_on(self, label_set: LabelSet) -> Weights | None:
        """Raises RateLimited: its key has no rate left for what comes next; what there is so far is stored."""
        build, weights = await self._stored(label_set)
        if self.is_elsewhere(build):
            return None
        definition = label_set.definition
        if weights:
            label_set.done = definition.prompt_count(len(weights.texts))
        await self._report(label_set)
        reported = time.monotonic()
        renewing = asyncio.create_task(self._renew(label_set))
        try:
            if weights is None:
                weights = await self._examples(label_set)
            async for so_far in encode_prompts(label_set.model, definition, weights, label_set.account):
                weights = so_far
                label_set.done = definition.prompt_count(len(weights.texts))
                if time.monotonic() - reported > _REPORT_SECONDS:
                    if not await self._still_reports(label_set, weights):
                        return None
                    reported = time.monotonic()
            await ended([renewing])  # or it might say after the last report that the set is not built
            await self._report(label_set, weights, built=time.time())
        except (asyncio.CancelledError, RateLimited):
            await ended([renewing])
            with suppress(StoreUnavailable):
                await self._report(label_set, weights, believed=0.0)  # another may go on at once
            raise
        finally:
            renewing.cancel()
        return weights

    async def _renew(self, label_set: LabelSet) -> None:
        """So that others believe in the build while its examples, or one piece, take long."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            with suppress(StoreUnavailable):  # the next report of progress fails too
                await self._still_reports(label_set)

    async def _still_reports(self, label_set: LabelSet, weights: Weights | None = None) -> bool:
        """False: another gateway has reported since this one did: it works on the set, or has built it."""
        build = None
        with _needed_by(label_set):
            build = await self._shelf.build(label_set.name, label_set.version)
        if build and build.owner != self._owner and (build.built is not None or self.is_elsewhere(build)):
            return False
        await self._report(label_set, weights)
        return True

    async def _examples(self, label_set: LabelSet) -> Weights:
        digests, images = label_set.definition.examples, label_set.images
        await label_set.account.require(len(digests))
        if images is None:
            images = await self._shelf.images(label_set.name, digests)
            if images.keys() != set(digests):
                raise LabelSetFailed(CANNOT_BE_READ)
        encoded = await encode_examples(label_set.model, label_set.definition, images)
        label_set.account.spend(len(digests))
        return Weights.none(encoded)

    async def _stored(self, label_set: LabelSet) -> tuple[Build | None, Weights | None]:
        """What there is already; no embeddings while another gateway works on them."""
        name, version, dim = label_set.name, label_set.version, label_set.model.manifest.embed_dim
        build = weights = None
        with _needed_by(label_set):
            build = await self._shelf.build(name, version)
            if not self.is_elsewhere(build):
                weights = await self._shelf.weights(name, version, label_set.definition, dim)
        return build, weights

    async def _serve_former(self, label_set: LabelSet, digest: str) -> None:
        """Until the new definition is built."""
        name, model = label_set.name, label_set.model
        with suppress(ValueError):  # it is not there, or damaged
            definition = await self._shelf.definition(name, digest)
            version, dim = version_of(digest, model.fingerprint), model.manifest.embed_dim
            if definition.model == model.name:
                weights = await self._shelf.weights(name, version, definition, dim)
                await label_set.serve(digest, definition, weights)

    async def _report(
        self,
        label_set: LabelSet,
        weights: Weights | None = None,
        *,
        believed: float = _BELIEVED_SECONDS,
        built: float | None = None,
    ) -> None:
        build = Build(
            digest=label_set.digest,
            total=label_set.prompts,
            done=label_set.done,
            owner=self._owner,
            until=time.time() + believed,
            built=built,
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
