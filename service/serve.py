"""The life of the process: start, serve until a signal, end."""

from __future__ import annotations

import asyncio
import functools
import gc
import ipaddress
import os
import resource
import signal
import socket
import threading
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import uvloop

from service import operations
from service.bootstrap import OpenBackend, open_gateway
from service.concurrency import together
from service.gateway import Gateway
from service.settings import Settings
from service.telemetry.log import logger

if TYPE_CHECKING:  # it loads gRPC
    from service.rpc.server import RpcServer

# After the time to drain: for cancelled requests and backends to end. Then the process ends, whatever still runs.
_MARGIN_SECONDS = 3.0
_OTHER_FILES = 256  # that are open besides connections: libraries, artifacts, the operations port, Triton


class CannotListen(Exception):
    """An address or a port cannot be used; the message names the setting."""


def serve(settings: Settings, open_backend: OpenBackend | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what is in flight and end.

    `open_backend` replaces the backend that the settings ask for.

    Raises:
        ArtifactError, ClipError: a model cannot be served; the message says why.
        CannotListen, KeyFileError, TracingUnavailable: see there.
    """
    _warn_if_open(settings)
    fronts = 2 if settings.grpc_enabled else 1  # each of which may have so many connections
    _allow_open_files(fronts * settings.max_connections + _OTHER_FILES)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, open_backend))


async def _serve(settings: Settings, open_backend: OpenBackend | None) -> None:
    async with open_gateway(settings, open_backend) as gateway, _operations(settings, gateway):
        listener = _listen("CLIPSERVE_PORT", settings.host, settings.port)
        _listen_grpc(settings, gateway.rpc)
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, _end, gateway, settings)
        serving = asyncio.create_task(_fronts(gateway, listener))
        warming = asyncio.create_task(gateway.warm_up())
        try:
            await asyncio.wait({serving, warming}, return_when=asyncio.FIRST_COMPLETED)
            if warming.done():
                warming.result()
                _settle_memory()
                grpc = {"grpc_port": gateway.rpc.port} if gateway.rpc else {}
                logger.info("ready", url=f"http://{settings.host}:{settings.port}", docs="/docs", **grpc)
            await serving
        finally:
            warming.cancel()
            gateway.end()
            await asyncio.gather(serving, warming, return_exceptions=True)


def _operations(settings: Settings, gateway: Gateway) -> AbstractAsyncContextManager[None]:
    """Probes and metrics on their own port, if the settings want it."""
    if not settings.operations_enabled:
        return nullcontext()
    listener = _listen("CLIPSERVE_OPERATIONS_PORT", settings.host, settings.operations_port)
    serving = functools.partial(
        operations.serving,
        listener,
        gateway.metrics.registry,
        gateway.inference.ready,
        settings.max_blocked_seconds,
        watch_ready=gateway.metrics.state.watch_ready,
    )
    if settings.metrics_open or gateway.keys is None:
        return serving()
    return serving(may_read_metrics=functools.partial(gateway.keys.check, scope="manage"))


def _warn_if_open(settings: Settings) -> None:
    if settings.keys_file is None and not _is_loopback(settings.host):
        logger.warning(
            "open_to_all",
            host=settings.host,
            hint="whoever reaches this address may use it: set CLIPSERVE_KEYS_FILE (clipserve keys add NAME), or "
            "put something in front that asks who is calling",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _allow_open_files(needed: int) -> None:
    """A shell often allows 1,024; what the system allows at most is higher."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
    if hard < needed:
        logger.warning("few_open_files", allowed=hard, needed=needed)


def _listen(setting: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, TypeError, ValueError) as error:  # a name that is none is not always an OSError
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise CannotListen(
            f"{setting}={port}: cannot listen on {host}: {reason}. Choose another, or CLIPSERVE_HOST."
        ) from None


async def _fronts(gateway: Gateway, listener: socket.socket) -> None:
    fronts: list[Coroutine[Any, Any, None]] = [gateway.server.serve([listener])]
    if gateway.rpc:
        fronts.append(gateway.rpc.serve())
    await together(fronts)


def _listen_grpc(settings: Settings, rpc: RpcServer | None) -> None:
    """gRPC takes its port itself, and does not say what is wrong with it."""
    try:
        if rpc:
            rpc.listen()
    except (OSError, RuntimeError):
        _listen("CLIPSERVE_GRPC_PORT", settings.host, settings.grpc_port).close()
        raise CannotListen(
            f"CLIPSERVE_GRPC_PORT={settings.grpc_port}: gRPC cannot listen on {settings.host}. Choose another, or "
            "look at the files that CLIPSERVE_GRPC_TLS_* name: certificates and a key that fits them, as PEM."
        ) from None


def _end(gateway: Gateway, settings: Settings) -> None:
    """The first signal lets requests in flight end; the second does not wait for them.

    A load balancer needs a moment to see that this instance is not ready any more. Until then it still listens.
    """
    if gateway.draining:
        gateway.end(at_once=True)
        return
    gateway.drain()
    logger.info("draining", delay=settings.drain_delay_seconds, drain=settings.drain_seconds)
    asyncio.get_running_loop().call_later(settings.drain_delay_seconds, gateway.end)
    longest = settings.drain_delay_seconds + settings.drain_seconds + _MARGIN_SECONDS
    last_resort = threading.Timer(longest, os._exit, [0])
    last_resort.daemon = True
    last_resort.start()


def _settle_memory() -> None:
    """For a process that is ready: what is in memory now stays, so the garbage collector need not look at it again.

    Nor need it run often: neither an answer nor a failure leaves cycles behind (`service.concurrency`). It took a
    sixth of the gateway's own time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
