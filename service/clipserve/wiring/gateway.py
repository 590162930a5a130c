"""Builds a gateway from settings, and closes everything that it opened."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from clipserve.access.gate import Gate, RateOptions
from clipserve.access.key_file import KeyFileError, following
from clipserve.access.keys import Keys
from clipserve.access.rate_counter import LocalRateCounter, RateCounter
from clipserve.application.inference import Inference
from clipserve.application.served_model import ServedModel
from clipserve.application.shared import Shared
from clipserve.quota import Quota
from clipserve.settings import Settings
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.tracing import tracing_to
from clipserve.wiring.use_cases import OpenBackend, UseCases, open_use_cases

if TYPE_CHECKING:  # loaded in `open_gateway`
    from clipserve.rest.protocol import Connections
    from clipserve.rest.server import Server
    from clipserve.rpc.server import RpcServer
    from clipserve.wiring.options import GatewayOptions


@dataclass(frozen=True)
class Gateway:
    """REST and gRPC and their models, which are ready when `warm_up` has returned.

    `rpc`: the gRPC API, if the settings enable it. `keys`: the known keys; None: no key is needed.
    """

    app: ASGIApp
    server: Server
    rpc: RpcServer | None
    metrics: Metrics
    use_cases: UseCases
    connections: Connections
    keys: Keys | None

    def __post_init__(self) -> None:
        self.metrics.draining.set_function(lambda: self.inference.draining)

    @property
    def models(self) -> dict[Path, ServedModel]:
        return self.use_cases.models

    @property
    def inference(self) -> Inference:
        return self.use_cases.inference

    def drain(self) -> None:
        """Report not ready from now on, and close each connection after its answer."""
        self.inference.draining = self.connections.draining = True

    def end(self, *, at_once: bool = False) -> None:
        """Accept no more requests. `at_once`: do not wait for those in flight."""
        self.server.should_exit = True
        self.server.force_exit |= at_once
        if self.rpc:
            self.rpc.end(at_once=at_once)

    async def warm_up(self) -> None:
        """Start all models concurrently, then load the label sets.

        Raises:
            ArtifactError, BackendUnavailable, BackendFailed: a model cannot be served; the message says why.
        """
        await self.use_cases.start_models()
        for model in self.models.values():
            self.metrics.model_info.labels(*model.info).set(1)
        await self.inference.label_sets.start()


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    open_backend: OpenBackend | None = None,
    options: GatewayOptions | None = None,
    on_lost: Callable[[], object] = lambda: None,
) -> AsyncIterator[Gateway]:
    """Build all objects. The block's end stops everything that they started.

    `open_backend` replaces the backend of the settings, `options` the options made from them. `on_lost` is called
    when a GPU is lost.

    Raises:
        ArtifactError: a folder of `settings.models` is not an artifact, or two hold models of one name.
        BackendUnavailable: a backend is not installed.
        KeyFileError: the file of keys cannot be used.
        TracingUnavailable: tracing is on, and OpenTelemetry is not installed.
    """
    metrics, rates = Metrics(), options.rates if options else settings.options(RateOptions)
    async with AsyncExitStack() as stack:
        stack.enter_context(tracing_to(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None, metrics.spans))
        keys, gate = await _keys_and_gate(settings, rates, stack, metrics)
        charge = (lambda rows: gate.charge(rows=rows)) if keys is not None else None
        limits = options.limits if options else None
        opened = open_use_cases(settings, metrics, open_backend, charge, limits, on_lost)
        use_cases = await stack.enter_async_context(opened)
        # They take half a second to load, in which threads verify the models' files.
        from clipserve.connections import Proxies
        from clipserve.rest.app import build_app
        from clipserve.rest.protocol import Connections
        from clipserve.rest.server import Server
        from clipserve.wiring.options import GatewayOptions

        options = options or GatewayOptions.of(settings)
        most_bytes, of_one = settings.max_in_flight_bytes, settings.max_in_flight_bytes_per_address
        budget = Quota("bytes of requests in flight", most_bytes, of_one)
        most, shares = options.max_bulk_requests, settings.shares_address
        one_caller = shares and keys is None  # all have the address of a proxy
        bulk = Quota("bulk requests", most, most if one_caller else (most + 1) // 2, retry_after=10)
        shared = Shared(use_cases.inference, budget, bulk, gate, metrics)
        app = build_app(shared, options.rest)
        walls, proxies = options.connections, Proxies(settings.trusted_proxies)
        connections = Connections(walls, metrics, proxies, shares, settings.root_path)
        server = Server(app, connections, settings.drain_seconds)
        rpc = None
        if settings.grpc_enabled:
            from clipserve.rpc.server import RpcServer  # loads gRPC

            rpc = RpcServer(shared, options.rpc)
        yield Gateway(app, server, rpc, metrics, use_cases, connections, keys)


async def _keys_and_gate(
    settings: Settings, rates: RateOptions, stack: AsyncExitStack, metrics: Metrics
) -> tuple[Keys | None, Gate]:
    if settings.keys_file is None:
        return None, Gate()
    try:
        keys = await stack.enter_async_context(following(settings.keys_file, metrics.key_removed))
    except KeyFileError as error:
        raise KeyFileError(f"CLIPSERVE_KEYS_FILE: {error}") from None
    counter: RateCounter = LocalRateCounter()
    if settings.redis_url:
        from clipserve.access.shared_rate_counter import shared_rate_counter  # loads Redis' client

        url = settings.redis_url.get_secret_value()
        counter = await stack.enter_async_context(shared_rate_counter(url, metrics, rates.redis_seconds))
    return keys, Gate(keys, rates, counter, metrics.key_used)
