"""The life of the process: start, serve until a signal, end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading

import uvloop
from prometheus_client import start_http_server

from service.bootstrap import Gateway, OpenBackend, open_gateway
from service.settings import Settings
from service.telemetry.log import logger
from service.telemetry.metrics import Metrics

# After the time to drain: for cancelled requests and backends to end. Then the process ends, whatever still runs.
_MARGIN_SECONDS = 3.0


class CannotListen(Exception):
    """An address or a port cannot be used; the message names the setting."""


def serve(settings: Settings, open_backend: OpenBackend | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what is in flight and end.

    `open_backend` replaces the backend that the settings ask for.

    Raises:
        ArtifactError, ClipError: a model cannot be served; the message says why.
        CannotListen: see there.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, open_backend))


async def _serve(settings: Settings, open_backend: OpenBackend | None) -> None:
    async with open_gateway(settings, open_backend) as gateway:
        server = gateway.server
        listener = _listen("CLIPSERVE_PORT", settings.host, settings.port)
        if settings.metrics_enabled:
            _serve_metrics(settings, gateway.metrics)
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, _end, gateway, settings)
        serving = asyncio.create_task(server.serve([listener]))
        warming = asyncio.create_task(gateway.warm_up())
        try:
            await asyncio.wait({serving, warming}, return_when=asyncio.FIRST_COMPLETED)
            if warming.done():
                warming.result()
                _settle_memory()
                logger.info("ready", url=f"http://{settings.host}:{settings.port}", docs="/docs")
            await serving
        finally:
            warming.cancel()
            server.should_exit = True
            await asyncio.gather(serving, warming, return_exceptions=True)


def _listen(setting: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise _cannot_listen(setting, host, port, error) from None


def _serve_metrics(settings: Settings, metrics: Metrics) -> None:
    try:
        start_http_server(settings.metrics_port, settings.host, metrics.registry)
    except OSError as error:
        raise _cannot_listen("CLIPSERVE_METRICS_PORT", settings.host, settings.metrics_port, error) from None


def _cannot_listen(setting: str, host: str, port: int, error: OSError) -> CannotListen:
    reason = (error.strerror or str(error)).lower()
    return CannotListen(
        f"{setting}={port}: cannot listen on {host}: {reason}. Choose another, or CLIPSERVE_HOST."
    )


def _end(gateway: Gateway, settings: Settings) -> None:
    """The first signal lets requests in flight end; the second does not wait for them.

    A load balancer needs a moment to see that this instance is not ready any more. Until then it still listens.
    """
    server = gateway.server
    if gateway.draining:
        server.force_exit = server.should_exit = True
        return
    gateway.drain()
    logger.info("draining", delay=settings.drain_delay_seconds, drain=settings.drain_seconds)
    asyncio.get_running_loop().call_later(settings.drain_delay_seconds, setattr, server, "should_exit", True)
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
