"""`python -m loadtests.fake_service`: the gateway with encoders of arithmetic behind it.

The service has no setting for this, so that nobody serves arithmetic by mistake. Hence this launcher, which is the
one file of the load tests that imports the service. Everything is as in `python -m service`, the batcher included,
but for the engine, and for the self-test, which arithmetic would not pass.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import uvicorn
import uvloop
from prometheus_client import start_http_server

from service.bootstrap import batched, build_server, open_service, settle_memory
from service.clip.manifest import ModelManifest
from service.engine.backend import Backend
from service.engine.fake import FakeBackend
from service.settings import Settings
from service.telemetry import log
from service.telemetry.metrics import Metrics


def fake_backend(_: Path, manifest: ModelManifest, settings: Settings, metrics: Metrics) -> Backend:
    """Arithmetic behind the batcher of an embedded backend."""
    return batched(FakeBackend(manifest.embed_dim), settings, metrics)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    backends: list[Backend] = []

    def remembered(folder: Path, manifest: ModelManifest, own: Settings, metrics: Metrics) -> Backend:
        backends.append(fake_backend(folder, manifest, own, metrics))
        return backends[-1]

    async with open_service(settings, open_backend=remembered) as service:
        for backend in backends:
            await backend.start()
        for model in service.models.values():
            model.warm = True
        settle_memory()
        server = build_server(service, settings)
        if settings.metrics_enabled:
            start_http_server(settings.metrics_port, settings.host, service.metrics.registry)
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, _end, server)
        await server.serve()


def _end(server: uvicorn.Server) -> None:
    server.should_exit = True


def main() -> None:
    settings = Settings()
    log.configure(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main()
