"""The options of the gRPC API, in a module that does not load gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipserve.connections import NO_PROXIES, ConnectionLimits, Proxies

MAX_CALLS = 1_000  # at a time: a full message for a few calls, and 128 KB for each


@dataclass(frozen=True, kw_only=True)
class RpcOptions:
    """Where to listen, the limits, most of them those of REST, and the time to drain. In bytes and seconds.

    Attributes:
        grpc_max_calls: at a time; one address has half of them.
        shares_address: all clients have the address of a proxy, which may have all of everything.
        proxies: whose `x-forwarded-for` counts.
        deadline_seconds: from a message to its answer.
        body_timeout_seconds: until a message is whole.
        max_json_bytes: of a message besides its images.
        max_in_flight_bytes: of all messages together.
        max_header_bytes: of metadata.
    """

    host: str
    grpc_port: int
    grpc_tls_cert_file: Path | None
    grpc_tls_key_file: Path | None
    grpc_tls_client_ca_file: Path | None
    deadline_seconds: float
    body_timeout_seconds: float
    max_body_bytes: int
    max_json_bytes: int
    max_in_flight_bytes: int
    max_connections: int
    keep_alive_seconds: float
    drain_seconds: int
    shares_address: bool = False
    proxies: Proxies = NO_PROXIES
    grpc_max_calls: int = MAX_CALLS
    max_header_bytes: int = ConnectionLimits.max_header_bytes
    first_byte_timeout_seconds: float = ConnectionLimits.first_byte_timeout_seconds
