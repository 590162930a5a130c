"""The operations port of several processes: their supervisor answers for all."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from prometheus_client import CollectorRegistry

from clipserve.operations.port import JSON, Answer, problem
from clipserve.operations.probes import Check, readiness, refusal, rendered
from clipserve.processes.children import Children
from clipserve.processes.summing import Told


class SharedPage:
    """What is known of all processes."""

    def __init__(self, children: Children, max_blocked_seconds: float, may_read_metrics: Check) -> None:
        self._children = children
        self._max_blocked_seconds = max_blocked_seconds
        self._may_read = may_read_metrics

    def livez(self) -> Answer:
        """503 when no process has been in order for long; a single one that is not is replaced."""
        seconds, limit = self._children.quiet_seconds, self._max_blocked_seconds
        if seconds > limit:
            detail = f"no process has given a sign for {seconds:.1f} s; CLIPSERVE_MAX_BLOCKED_SECONDS is {limit:g}."
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "event_loop_blocked", detail, limit=limit, actual=seconds
            )
        processes = [
            {
                "pid": each.pid,
                "silent_seconds": each.silent_seconds,
                "blocked_seconds": each.blocked_seconds,
            }
            for each in self._children.running
        ]
        return HTTPStatus.OK, JSON, orjson.dumps({"status": "alive", "processes": processes})

    def readyz(self) -> Answer:
        return readiness(ready=self._children.ready)

    async def metrics(self, headers: Mapping[bytes, bytes]) -> Answer:
        if refused := refusal(self._may_read, headers):
            return refused
        registry = CollectorRegistry()
        registry.register(Told(await self._children.metrics()))
        return rendered(registry, headers)
