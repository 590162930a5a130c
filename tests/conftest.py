"""Shared by all tests: quiet logs, and the event loop that the service runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop

from service.telemetry import log

log.configure("CRITICAL")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A transport of uvloop is not quite one of asyncio: the service is tested on those it meets."""
    return {"uvloop": uvloop.new_event_loop}
