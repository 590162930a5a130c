"""Makes the options of each package from the settings, with its own constants for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from clipserve.access.gate import RateOptions
from clipserve.application.stream import MAX_BULK_REQUESTS
from clipserve.http1.connections import ConnectionLimits
from clipserve.rest.app import RestOptions
from clipserve.rest.body import BodyLimits
from clipserve.rest.bulk import BulkLimits
from clipserve.rest.exchange import ExchangeLimits
from clipserve.rpc.options import RpcOptions
from clipserve.settings import Settings
from clipserve.wiring.listening import hosts_of
from clipserve.wiring.use_cases import Limits

_LEAST_JSON_BYTES, _JSON_PART = 1_000_000, 20  # a twentieth of a body may be JSON besides its images


@dataclass(frozen=True)
class GatewayOptions:
    """The options of a gateway."""

    limits: Limits
    rates: RateOptions
    connections: ConnectionLimits
    rest: RestOptions
    rpc: RpcOptions
    max_bulk_requests: int = MAX_BULK_REQUESTS

    @classmethod
    def of(cls, settings: Settings) -> GatewayOptions:
        return cls(
            Limits.of(settings),
            RateOptions(settings.rows_per_second, settings.bytes_per_second),
            ConnectionLimits(settings.max_connections, settings.keep_alive_seconds),
            _rest(settings),
            _rpc(settings),
        )


def _rest(settings: Settings) -> RestOptions:
    size, seconds = settings.max_body_bytes, settings.body_timeout_seconds
    return RestOptions(
        ExchangeLimits(BodyLimits(size, seconds), settings.deadline_seconds),
        BulkLimits(max_body_bytes=size, body_timeout_seconds=seconds),
        _json_bytes(settings),
        settings.compat,
        settings.page,
        settings.cors_origins,
        hosts_of(settings),
    )


def _rpc(settings: Settings) -> RpcOptions:
    return RpcOptions(
        host=settings.host,
        grpc_port=settings.grpc_port,
        grpc_tls_cert_file=settings.grpc_tls_cert_file,
        grpc_tls_key_file=settings.grpc_tls_key_file,
        grpc_tls_client_ca_file=settings.grpc_tls_client_ca_file,
        max_body_bytes=settings.max_body_bytes,
        max_json_bytes=_json_bytes(settings),
        max_in_flight_bytes=settings.max_in_flight_bytes,
        max_connections=settings.max_connections,
        body_timeout_seconds=settings.body_timeout_seconds,
        deadline_seconds=settings.deadline_seconds,
        keep_alive_seconds=settings.keep_alive_seconds,
        drain_seconds=settings.drain_seconds,
    )


def _json_bytes(settings: Settings) -> int:
    """A share of a body, and up to all of it for more texts and labels or larger label sets than by default."""
    usual, size = Settings.model_fields, settings.max_body_bytes
    names = ("max_texts", "max_labels", "max_label_set_bytes")
    more: float = max(getattr(settings, name) / usual[name].default for name in names)
    return max(_LEAST_JSON_BYTES, size // _JSON_PART, min(size, round(_LEAST_JSON_BYTES * more)))
