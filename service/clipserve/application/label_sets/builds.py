"""The builds of this gateway."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

from clipserve.application.label_sets.building import Building, TakenOver
from clipserve.application.label_sets.cleanup import tidy
from clipserve.application.label_sets.entry import Entry
from clipserve.application.label_sets.memory_store import MemoryStore
from clipserve.application.label_sets.paying import Charge, Unpaid
from clipserve.application.label_sets.records import Weights
from clipserve.application.label_sets.store import Store
from clipserve.errors import ClipError, InvalidInput, LabelSetFailed, StoreUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, task_context

_SMALL = 2_000  # prompts: a second or two


class Builds:
    """Two at a time: a small set does not wait for a large one. They give way to requests.

    `owner`: the name by which other gateways know that a build is ours.
    """

    def __init__(
        self, store: Store, metrics: Metrics, note: Callable[[], None], charge: Charge | None
    ) -> None:
        """`note`: called when a build has ended. `charge`: see `Account`."""
        self._charge = charge
        self.owner = uuid.uuid4().hex
        self._store = store
        self._metrics = metrics
        self._note = note
        self._small, self._large = asyncio.Lock(), asyncio.Lock()

    def start(self, entry: Entry) -> None:
        """Build it in a task, which is then `entry.task`."""
        entry.account.charge = self._charge
        request = RequestContext(f"label-set-{entry.version}", bulk=True, digest=entry.payer, scope="manage")
        context = task_context(request)
        entry.task = asyncio.create_task(self._run(entry), context=context)

    async def _run(self, entry: Entry) -> None:
        try:
            await self._build(entry)
        finally:
            if entry.task is asyncio.current_task():  # else there is a new one in its place
                entry.task = None
            self._note()
        if entry.ready:
            try:
                await tidy(self._store, entry.wanted.name, entry.wanted.digest)
            except StoreUnavailable:
                pass  # what is left is found the next time
            except Exception:  # rows that are damaged
                logger.exception("label_set_not_tidied", label_set=entry.wanted.name)

    async def _build(self, entry: Entry) -> None:
        wanted = entry.wanted
        said = {"label_set": wanted.name, "version": entry.version}
        began = entry.began = time.monotonic()
        try:
            weights = await self._weights(entry)
            entry.served = await asyncio.to_thread(entry.set_of, wanted.digest, wanted.definition, weights)
            entry.error = None
        except TakenOver:
            return
        except ClipError as error:
            entry.fail(error, final=isinstance(error, InvalidInput | LabelSetFailed))
            logger.warning("label_set_not_built", **said, reason=error.detail)
            self._metrics.label_sets.built(error.code, time.monotonic() - began)
            return
        except Exception:  # a fault of ours must not be tried for ever, nor end the service
            entry.fail(ClipError("the service failed unexpectedly."), final=True)
            logger.exception("label_set_not_built", **said)
            self._metrics.label_sets.built("internal_error", time.monotonic() - began)
            return
        seconds = time.monotonic() - began
        logger.info("label_set_built", **said, seconds=round(seconds, 2))
        self._metrics.label_sets.built("ok", seconds)

    async def _weights(self, entry: Entry) -> Weights:
        is_small = entry.prompts <= _SMALL
        while True:
            try:
                async with self._small if is_small else self._large:
                    return await self._encoded(entry)
            except Unpaid:
                await entry.account.save()

    async def _encoded(self, entry: Entry) -> Weights:
        def progress(done: int) -> None:
            entry.done = done

        def building(store: Store) -> Building:
            return Building(entry.wanted, entry.model, store, self.owner, entry.account, progress)

        try:
            return await building(self._store).run()
        except StoreUnavailable:
            if not entry.read_only:
                raise
        # A file is here again at the next start; its embeddings are not.
        return await building(MemoryStore()).run()
