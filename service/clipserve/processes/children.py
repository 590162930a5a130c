"""All workers: started, watched, replaced, and ended together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from clipserve.concurrency import kept_running, together
from clipserve.operations.pulse import BEAT_SECONDS, READY_SECONDS
from clipserve.processes.channel import Command
from clipserve.processes.child import Child
from clipserve.processes.orphans import reap_orphans
from clipserve.processes.sharing import share
from clipserve.processes.summing import Families, counted, page_of, read, summed
from clipserve.settings import Settings
from clipserve.telemetry.collectors import DroppedLines
from clipserve.telemetry.log import logger
from clipserve.wiring.start_faults import WorkerFault

_START_SECONDS = 60.0  # until the first sign of life, on a machine that is busy
_PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # before the first start anew, and each that follows soon
_LONG_SECONDS = 60.0  # a process that has lived so long has not ended soon
_REMEMBER_SECONDS = 1.0  # what a process has counted since its metrics were last asked for is lost with it


class Children:
    """As many as the settings say, each with its part of them.

    Attributes:
        registry: what the supervisor itself tells.
        quiet_seconds: how long no process has been in order.
    """

    def __init__(self, settings: Settings) -> None:
        """`settings`: of all together, with the ports as they are."""
        self._settings = settings
        self._all: dict[
            int, Child
        ] = {}  # number -> the present one, until what it has counted is in the next:
        self._counted: Families = []  # by those that have ended
        self._ending = asyncio.Event()
        self._any_was_ready = False
        self.quiet_seconds = -_START_SECONDS  # the first may take their time
        self.registry = CollectorRegistry()
        Gauge("clipserve_processes", "Processes that serve, now.", registry=self.registry).set_function(
            lambda: len(self.running)
        )
        self._restarts = Counter(
            "clipserve_process_restarts",
            "Processes that were started in place of others.",
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(DroppedLines())

    @property
    def running(self) -> list[Child]:
        return [each for each in self._all.values() if each.running]

    @property
    def ready(self) -> bool:
        """At least one is: the others have no connections until they are."""
        return not self.ending and any(each.ready(READY_SECONDS) for each in self._all.values())

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    async def run(self) -> None:
        """Until they have been told to end, and have.

        Raises:
            WorkerFault: one says that it cannot start, and none has been ready yet.
        """
        tasks = [kept_running("watch", self._watch), kept_running("remember", self._remember)]
        try:
            await together(self._keep(number) for number in range(self._settings.processes))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def end(self, command: Command) -> None:
        """Tell all: `drain`, or `end` to end at once."""
        self._ending.set()
        for each in self.running:
            if each.heard:
                each.tell(command)
            else:  # it is being loaded, and serves nobody
                each.kill()

    def kill(self) -> None:
        """Those that are left."""
        for each in self.running:
            each.kill()

    async def metrics(self) -> Families:
        """Of all together, those that have ended and the supervisor too."""
        await self._ask()
        now = [
            each.metrics() if each.running else counted(each.metrics())  # it has ended just now
            for each in self._all.values()
        ]
        return summed([self._counted, *now, read(page_of(self.registry))])

    async def _ask(self) -> None:
        await asyncio.gather(*(each.tell_metrics() for each in self.running))

    async def _keep(self, number: int) -> None:
        soon = 0
        while not self.ending:
            began = time.monotonic()
            how = await self._one(number)
            if not self.ending:
                soon = 0 if time.monotonic() - began > _LONG_SECONDS else soon + 1
                pause = _PAUSES[min(max(soon - 1, 0), len(_PAUSES) - 1)]
                logger.error("process_ended", **how, again_in_seconds=pause)
                self._restarts.inc()
                await _wait(self._ending, pause)

    async def _one(self, number: int) -> dict[str, object]:
        """From its start to its end, and how this was, for the log."""
        try:
            child = self._all[number] = await Child.start(share(self._settings, number))
        except OSError as error:
            return {"reason": f"it could not be started: {error.strerror}"}
        if self.ending:
            child.kill()
        try:
            status = await child.ended()
        finally:
            child.kill()  # if this task is cancelled
        self._counted = summed([self._counted, counted(child.metrics())])
        del self._all[number]
        if child.fault is None:
            return {"pid": child.pid, "status": status}
        if not self._any_was_ready:
            raise WorkerFault(child.fault)
        return {"pid": child.pid, "status": status, "reason": child.fault}

    async def _watch(self) -> None:
        """Count how long each has given no sign, and kill those that are stuck: the others go on.

        Only time in which this process ran itself counts: all together may have been stopped.
        """
        limit = self._settings.max_blocked_seconds
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            reap_orphans({each.pid for each in self._all.values()})
            for each in self.running:
                self._any_was_ready = self._any_was_ready or each.was_ready
                each.silent_seconds += BEAT_SECONDS
                seconds = max(each.silent_seconds, each.blocked_seconds)
                if seconds > (limit if each.heard else _START_SECONDS):
                    logger.error("process_blocked", pid=each.pid, seconds=round(seconds, 1), limit=limit)
                    each.kill()
            self.quiet_seconds = 0.0 if _any_in_order(self.running) else self.quiet_seconds + BEAT_SECONDS

    async def _remember(self) -> None:
        while True:
            await asyncio.sleep(_REMEMBER_SECONDS)
            await self._ask()


def _any_in_order(children: Iterable[Child]) -> bool:
    return any(
        each.heard and max(each.silent_seconds, each.blocked_seconds) < READY_SECONDS for each in children
    )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, at most so long."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
