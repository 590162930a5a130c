"""The life of a gateway of several processes: it starts them, answers for them, replaces them, and ends with them.

It serves nothing itself, and loads nothing of what serves. It holds the ports, on which its workers listen with
SO_REUSEPORT: the kernel gives each connection to one of them.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from clipserve.access.key_watch import following
from clipserve.operations.port import serve_port
from clipserve.operations.probes import Check
from clipserve.operations.pulse import BEAT_SECONDS, Beside
from clipserve.processes.children import Children
from clipserve.processes.page import SharedPage
from clipserve.processes.sharing import check_shared
from clipserve.settings import Settings
from clipserve.telemetry.log import logger
from clipserve.wiring.listening import hosts_of, listen, reserve, warn_if_open

# After the time to drain. A worker gives itself three.
_LAST_RESORT_SECONDS = 4.0


def supervise(settings: Settings) -> None:
    """Serve with several processes until SIGTERM or Ctrl-C, then let them answer what is in flight.

    Raises:
        CannotShare: the settings cannot be those of several processes.
        ArtifactError, CannotListen, KeyFileError, WorkerFault: it cannot start; the message says why.
    """
    check_shared(settings)
    warn_if_open(settings)
    asyncio.run(_supervise(settings))


async def _supervise(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        operations = None
        if settings.operations_enabled:
            operations = stack.enter_context(
                listen("CLIPSERVE_OPERATIONS_PORT", settings.host, settings.operations_port)
            )
        ports = {"port": stack.enter_context(reserve("CLIPSERVE_PORT", settings.host, settings.port))}
        if settings.grpc_enabled:
            holder = reserve("CLIPSERVE_GRPC_PORT", settings.host, settings.grpc_port)
            ports["grpc_port"] = stack.enter_context(holder)
        numbers = {name: holder.getsockname()[1] for name, holder in ports.items()}
        children = Children(settings.model_copy(update=numbers))
        if operations:
            page = SharedPage(children, settings.max_blocked_seconds, await _may_read(settings, stack))
            answer = functools.partial(serve_port, operations, page, hosts_of(settings))
            await stack.enter_async_context(_answering(answer))
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, _end, children, settings)
        telling = asyncio.create_task(_tell_ready(children, settings, numbers))
        try:
            await children.run()
        finally:
            telling.cancel()


async def _may_read(settings: Settings, stack: AsyncExitStack) -> Check:
    if settings.metrics_open or settings.keys_file is None:
        return lambda _: None
    keys = await stack.enter_async_context(following(settings.keys_file))
    return functools.partial(keys.check, scope="manage")


@asynccontextmanager
async def _answering(serve: Beside) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(serve(stop))
    try:
        yield
    finally:
        stop.set()
        await task


def _end(children: Children, settings: Settings) -> None:
    """The first signal lets requests in flight end; the second does not wait for them."""
    if children.ending:
        children.end("end")
        return
    logger.info("draining", delay=settings.drain_delay_seconds, drain=settings.drain_seconds)
    children.end("drain")
    longest = settings.drain_delay_seconds + settings.drain_seconds + _LAST_RESORT_SECONDS
    asyncio.get_running_loop().call_later(longest, children.kill)


async def _tell_ready(children: Children, settings: Settings, ports: dict[str, int]) -> None:
    while not children.ready:
        await asyncio.sleep(BEAT_SECONDS)
    grpc = {name: port for name, port in ports.items() if name == "grpc_port"}
    url = f"http://{settings.host}:{ports['port']}"
    logger.info("ready", url=url, docs="/docs", processes=settings.processes, **grpc)
