"""Runs the process: start, serve until a signal, end."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from clipserve.clip.images import configure_pillow
from clipserve.clip.resampling import RESIZED_BY
from clipserve.concurrency import together
from clipserve.settings import Settings
from clipserve.telemetry.log import logger
from clipserve.wiring.gateway import Gateway, open_gateway
from clipserve.wiring.listening import CannotListen, allow_open_files, hosts_of, listen, url_of, warn_if_open
from clipserve.wiring.use_cases import OpenBackend

if TYPE_CHECKING:  # it loads gRPC
    from clipserve.rpc.server import RpcServer

# A start that takes longer opens its port anyway, and answers each request that it is not ready.
CLOSED_SECONDS = 5.0
# After the drain, time for cancelled requests and backends to end. Then the process ends whatever still runs.
_MARGIN_SECONDS = 3.0
# A GPU that is lost comes back to a new process alone: this one ends with EX_TEMPFAIL of sysexits.h.
GPU_LOST = 75


def serve(settings: Settings, open_backend: OpenBackend | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C, then answer the requests in flight and end.

    `open_backend` replaces the backend of the settings. Returns the status for the process: 0, or `GPU_LOST`.

    Raises:
        ArtifactError, ClipError: a model cannot be served; the message says why.
        CannotListen, KeyFileError, TracingUnavailable: see there.
    """
    configure_pillow()
    warn_if_open(settings)
    allow_open_files(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, open_backend))


async def _serve(settings: Settings, open_backend: OpenBackend | None) -> int:
    gpu_lost = asyncio.Event()
    async with open_gateway(settings, open_backend, on_lost=gpu_lost.set) as gateway:
        listen("CLIPSERVE_PORT", settings.host, settings.port).close()  # report a port in use at once
        if gateway.rpc:
            listen("CLIPSERVE_GRPC_PORT", settings.host, settings.grpc_port).close()
        warming = asyncio.create_task(gateway.warm_up())
        end = partial(_end, gateway, settings, warming)
        for signum in (signal.SIGTERM, signal.SIGINT):  # before a port says that the process is there
            asyncio.get_running_loop().add_signal_handler(signum, end)
        giving_up = asyncio.create_task(_give_up(gpu_lost, partial(end, GPU_LOST)))
        try:
            async with _operations(settings, gateway) as operations_port:
                await _answer(settings, gateway, warming, operations_port)
        finally:
            warming.cancel()
            await asyncio.gather(warming, return_exceptions=True)
    return 0 if giving_up.cancel() else GPU_LOST


async def _answer(
    settings: Settings, gateway: Gateway, warming: asyncio.Task[None], operations_port: int
) -> None:
    """Open the ports when the models are warm, or after `CLOSED_SECONDS`, and serve until the gateway ends."""
    tasks: list[asyncio.Task[Any]] = [warming]
    try:
        # Some load balancers send requests to a new instance until they have seen that it is not ready. If its
        # port is closed, they try another one.
        await asyncio.wait(tasks, timeout=CLOSED_SECONDS)
        _listen_grpc(settings, gateway.rpc)
        listener = listen("CLIPSERVE_PORT", settings.host, settings.port)
        apis = [gateway.server.serve([listener]), *([gateway.rpc.serve()] if gateway.rpc else [])]
        serving = asyncio.create_task(together(apis))
        tasks.append(serving)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if warming.done() and not serving.done() and not gateway.inference.draining:
            warming.result()
            settle_memory()
            ports = {"operations_port": operations_port}
            ports |= {"grpc_port": gateway.rpc.port} if gateway.rpc else {}
            url = url_of(settings.host, listener)
            logger.info("ready", url=url, docs="/docs", resized_by=RESIZED_BY, **ports)
        await serving
    finally:
        warming.cancel()
        gateway.end()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _give_up(gpu_lost: asyncio.Event, end: Callable[[], None]) -> None:
    """End the service when a GPU is lost; /readyz has been false since then."""
    await gpu_lost.wait()
    logger.critical("gpu_lost", exit_status=GPU_LOST)
    end()


def _operations(settings: Settings, gateway: Gateway) -> AbstractAsyncContextManager[int]:
    """Serve probes and metrics on their own port; gives it."""
    from clipserve.operations.page import Page, Pulse  # loads a server, as the gateway does by now
    from clipserve.operations.port import serving

    pulse = Pulse()
    gateway.metrics.ready.set_function(lambda: pulse.ready)
    keys = None if settings.metrics_open else gateway.keys
    page = Page(pulse, gateway.metrics.registry, keys, hosts_of(settings))
    listener = listen("CLIPSERVE_OPERATIONS_PORT", settings.host, settings.operations_port)
    return serving(listener, page, gateway.inference.ready)


def _listen_grpc(settings: Settings, rpc: RpcServer | None) -> None:
    """Let gRPC open its port, about whose failure it gives no reason.

    Raises:
        CannotListen: it cannot be used, or the certificates cannot.
    """
    try:
        if rpc:
            rpc.listen()
    except (OSError, RuntimeError):
        listen("CLIPSERVE_GRPC_PORT", settings.host, settings.grpc_port).close()
        raise CannotListen(
            f"CLIPSERVE_GRPC_PORT={settings.grpc_port}: gRPC cannot listen on {settings.host}. Choose another, or "
            "look at the files that CLIPSERVE_GRPC_TLS_* name: certificates and a key that fits them, as PEM."
        ) from None


def _end(gateway: Gateway, settings: Settings, warming: asyncio.Task[None], status: int = 0) -> None:
    """End after a signal. The first lets requests in flight end; the second does not wait for them.

    A load balancer needs a moment to see that this instance is no longer ready. Until then it still listens.
    `status`: of a process that does not end by itself.
    """
    if gateway.inference.draining:
        gateway.end(at_once=True)
        return
    delay, drain = settings.drain_delay_seconds, settings.drain_seconds
    logger.info("draining", delay=delay, drain=drain)
    gateway.drain()
    warming.cancel()
    asyncio.get_running_loop().call_later(delay, gateway.end)
    seconds = delay + drain + _MARGIN_SECONDS
    # The kernel's, where no memory is left for a thread, or C code holds all.
    signal.alarm(math.ceil(seconds) + 1)
    last_resort = threading.Timer(seconds, os._exit, [status])
    last_resort.daemon = True
    last_resort.start()


def settle_memory() -> None:
    """Exclude the present objects of a ready process from garbage collection, because they stay.

    Also make collections rare: neither answers nor failures leave reference cycles (`clipserve.concurrency`).
    Collections took a sixth of the gateway's own time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
