"""Wiring only: settings in, a gateway out. Everything that is opened here is closed here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from clipserve.access.gate import Gate
from clipserve.access.key_file import following
from clipserve.access.keys import Keys
from clipserve.access.rates import RateOptions, Rates
from clipserve.access.shared_windows import shared_windows
from clipserve.access.windows import LocalWindows, Windows
from clipserve.application.byte_budget import ByteBudget
from clipserve.application.shared import Shared
from clipserve.application.stream import BulkPlaces
from clipserve.http1.connections import Connections
from clipserve.http1.server import build_server
from clipserve.rest.app import build_app
from clipserve.rest.errors import rendered
from clipserve.rpc.options import RpcOptions
from clipserve.settings import Settings
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.tracing import tracing_to
from clipserve.wiring.gateway import Gateway
from clipserve.wiring.options import GatewayOptions
from clipserve.wiring.use_cases import OpenBackend, open_use_cases

if TYPE_CHECKING:  # it loads gRPC
    from clipserve.rpc.server import RpcServer


@asynccontextmanager
async def open_gateway(
    settings: Settings, open_backend: OpenBackend | None = None, options: GatewayOptions | None = None
) -> AsyncIterator[Gateway]:
    """Build all objects; on leaving, end all that they began.

    `open_backend` replaces the backend that the settings ask for, `options` what they make of the rooms' options.

    Raises:
        ArtifactError: a folder of `settings.models` is not an artifact, or two hold models of one name.
        BackendUnavailable: a backend is not installed.
        KeyFileError: the file of keys cannot be used.
        TracingUnavailable: traces are wanted, and OpenTelemetry is not installed.
    """
    metrics, options = Metrics(), options or GatewayOptions.of(settings)
    async with AsyncExitStack() as stack:
        tracing = tracing_to(settings.otlp_endpoint, settings.trace_ratio, metrics.spans)
        metrics.tracing = stack.enter_context(tracing)
        keys, gate = await _keys_and_gate(settings, options.rates, stack, metrics)
        charge = (lambda rows: gate.charge(rows=rows)) if keys else None
        opened = open_use_cases(settings, metrics, open_backend, charge, limits=options.limits)
        use_cases = await stack.enter_async_context(opened)
        budget = ByteBudget(settings.max_in_flight_bytes, settings.max_in_flight_bytes_per_address)
        shares_address = settings.max_in_flight_bytes_per_address >= settings.max_in_flight_bytes
        places = BulkPlaces(options.max_bulk_requests, shared=shares_address and keys is None)
        shared = Shared(use_cases.inference, use_cases.side, budget, places, gate, metrics)
        app, connections = build_app(shared, options.rest), Connections(options.connections)
        server = build_server(app, options.http, connections, rendered, metrics)
        rpc = _rpc(shared, options.rpc) if settings.grpc_enabled else None
        yield Gateway(app, server, rpc, metrics, use_cases, connections, keys)


def _rpc(shared: Shared, options: RpcOptions) -> RpcServer:
    from clipserve.rpc.build import build_rpc  # loads gRPC

    return build_rpc(shared, options)


async def _keys_and_gate(
    settings: Settings, rates: RateOptions, stack: AsyncExitStack, metrics: Metrics
) -> tuple[Keys | None, Gate]:
    if settings.keys_file is None:
        return None, Gate()
    keys = await stack.enter_async_context(following(settings.keys_file))
    windows: Windows = LocalWindows()
    if settings.redis_url:
        shared = shared_windows(settings.redis_url.get_secret_value(), metrics)
        windows = await stack.enter_async_context(shared)
    return keys, Gate(keys, Rates(rates, windows))
