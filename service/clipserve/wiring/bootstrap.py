"""Wiring only: settings in, a gateway out. Everything that is opened here is closed here."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from clipserve.access.gate import Gate, KeyedGate, OpenGate
from clipserve.access.key_file import following
from clipserve.access.keys import Keys
from clipserve.access.rates import RateOptions, Rates
from clipserve.access.shared_windows import shared_windows
from clipserve.access.windows import LocalWindows, Windows
from clipserve.application.byte_budget import ByteBudget
from clipserve.application.charging import Charge
from clipserve.application.inference import Inference
from clipserve.application.stream import BulkPlaces
from clipserve.concurrency import SideThread
from clipserve.http1.connections import ConnectionLimits, Connections
from clipserve.http1.server import HttpOptions, build_server
from clipserve.rest.app import build_app, with_cors
from clipserve.rest.body import BodyLimits
from clipserve.rest.bulk import Bulk, BulkLimits
from clipserve.rest.errors import rendered
from clipserve.rest.exchange import ExchangeLimits
from clipserve.rest.uploads import Uploads
from clipserve.settings import Settings
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.tracing import TracingOptions, tracing_to
from clipserve.wiring.gateway import Gateway
from clipserve.wiring.listening import hosts_of
from clipserve.wiring.use_cases import OpenBackend, open_use_cases, picked

if TYPE_CHECKING:  # it loads gRPC
    from clipserve.rpc.server import RpcServer


@asynccontextmanager
async def open_gateway(settings: Settings, open_backend: OpenBackend | None = None) -> AsyncIterator[Gateway]:
    """Build all objects; on leaving, end all that they began.

    `open_backend` replaces the backend that the settings ask for.

    Raises:
        ArtifactError: a folder of `settings.models` is not an artifact, or two hold models of one name.
        BackendUnavailable: a backend is not installed.
        KeyFileError: the file of keys cannot be used.
        TracingUnavailable: traces are wanted, and OpenTelemetry is not installed.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        metrics.tracing = stack.enter_context(tracing_to(picked(settings, TracingOptions), metrics.spans))
        keys, gate = await _keys_and_gate(settings, stack, metrics)
        charge = _rows_of(gate) if keys else None
        use_cases = await stack.enter_async_context(open_use_cases(settings, metrics, open_backend, charge))
        inference, side = use_cases.inference, use_cases.side
        limits = ExchangeLimits(picked(settings, BodyLimits), settings.deadline_seconds)
        budget = ByteBudget(settings.max_in_flight_bytes, settings.max_in_flight_bytes_per_address)
        uploads = Uploads(settings.max_json_bytes, side)
        places = BulkPlaces(settings.max_bulk_requests)
        bulk = Bulk(inference, picked(settings, BulkLimits), side, gate, places)
        compat, page, hosts = settings.compat, settings.page, hosts_of(settings)
        app = build_app(inference, limits, uploads, side, budget, metrics, bulk, gate, compat, page, hosts)
        app = with_cors(app, settings.cors_origins)
        connections = Connections(picked(settings, ConnectionLimits))
        server = build_server(app, picked(settings, HttpOptions), connections, rendered, metrics)
        rpc = _rpc(settings, inference, side, budget, places, gate, metrics)
        yield Gateway(app, server, rpc, metrics, use_cases, connections, keys)


def _rpc(
    settings: Settings,
    inference: Inference,
    side: SideThread,
    budget: ByteBudget,
    bulk: BulkPlaces,
    gate: Gate,
    metrics: Metrics,
) -> RpcServer | None:
    if not settings.grpc_enabled:
        return None
    from clipserve.rpc.build import build_rpc  # loads gRPC

    return build_rpc(inference, side, budget, bulk, gate, metrics, functools.partial(picked, settings))


async def _keys_and_gate(
    settings: Settings, stack: AsyncExitStack, metrics: Metrics
) -> tuple[Keys | None, Gate]:
    if settings.keys_file is None:
        return None, OpenGate()
    keys = await stack.enter_async_context(following(settings.keys_file))
    windows: Windows = LocalWindows()
    if settings.redis_url:
        shared = shared_windows(settings.redis_url.get_secret_value(), metrics)
        windows = await stack.enter_async_context(shared)
    return keys, KeyedGate(keys, Rates(picked(settings, RateOptions), windows))


def _rows_of(gate: Gate) -> Charge:
    async def charge(rows: int) -> None:
        await gate.charge(rows=rows)

    return charge
