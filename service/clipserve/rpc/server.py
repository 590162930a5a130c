"""The gRPC server: its methods, gRPC's own limits, its port, its start and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import grpc
import grpc.aio

from clipserve.application.shared import Shared
from clipserve.rpc.calls import Calls
from clipserve.rpc.health import HEALTH, REFLECTION, health_handlers, reflection_handlers
from clipserve.rpc.methods import Methods
from clipserve.rpc.options import RpcOptions
from clipserve.v1 import clip_pb2

CLIP = clip_pb2.DESCRIPTOR.services_by_name["Clip"]
SERVICE = CLIP.full_name

_MAX_STREAMS = 100  # calls at a time on one connection, as RFC 9113 recommends
_STREAM_WINDOW = 65_536  # bytes that a client may send before somebody reads
_KEEPALIVE_SECONDS, _KEEPALIVE_TIMEOUT_SECONDS = (
    60.0,
    20.0,
)  # for a client that has vanished, or reads nothing
# After the first a connection takes no new calls, so clients spread over instances; after the second its calls end.
_AGE_SECONDS, _GRACE_SECONDS = 3_600.0, 3_600.0


class RpcServer:
    """Listens after `listen`, when `port` is its port, and answers while `serve` runs."""

    def __init__(self, shared: Shared, options: RpcOptions) -> None:
        """It needs a running event loop."""
        self._options = options
        self._ending = asyncio.Event()
        self._at_once = asyncio.Event()
        self.port = options.grpc_port
        self.calls = Calls(shared, options)
        self._server = grpc.aio.server(options=list(_arguments(options)))
        handlers = {
            SERVICE: self._methods(shared),
            HEALTH: health_handlers(shared.inference, self.calls, SERVICE),
            REFLECTION: reflection_handlers(shared.gate, self.calls, (SERVICE, HEALTH)),
        }
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(*each) for each in handlers.items()]
        )

    def _methods(self, shared: Shared) -> dict[str, grpc.RpcMethodHandler]:
        methods = Methods(shared, self._options)
        handler = {False: self.calls.unary, True: self.calls.stream}
        return {
            each.name: handler[each.client_streaming](each.name, getattr(methods, each.name))
            for each in CLIP.methods
        }

    def listen(self) -> None:
        """Take the port.

        Raises:
            RuntimeError: the port or the certificates cannot be used.
        """
        options = self._options
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"{host}:{options.grpc_port}"
        if credentials := _credentials(options):
            self.port = self._server.add_secure_port(address, credentials)
        else:
            self.port = self._server.add_insecure_port(address)

    async def serve(self) -> None:
        """Serve until `end` is called and calls in flight have ended, or the time to drain is over."""
        try:
            await self._server.start()
            await self._ending.wait()
        finally:
            stopping = asyncio.create_task(self._server.stop(_GRACE_SECONDS))  # no new calls from now on
            at_once = asyncio.create_task(self._at_once.wait())
            seconds = self._options.drain_seconds
            await asyncio.wait({stopping, at_once}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            self.calls.cut_off = True
            at_once.cancel()
            await self._server.stop(None)

    def end(self, *, at_once: bool = False) -> None:
        """Refuse new calls and drain. `at_once`: do not wait for calls in flight."""
        self.calls.ending = True
        if at_once:
            self._at_once.set()
        self._ending.set()


def _arguments(options: RpcOptions) -> Iterator[tuple[str, int]]:
    """Channel arguments of gRPC's library; times are in milliseconds."""
    yield "grpc.so_reuseport", 0  # a port in use is an error
    yield "grpc.max_receive_message_length", options.max_body_bytes
    yield "grpc.max_send_message_length", -1  # limited by the limits of requests
    # Its limit applies before decompression: a bomb would pass. So compressed messages are refused.
    yield "grpc.per_message_decompression", 0
    yield "grpc.max_metadata_size", options.max_header_bytes
    yield "grpc.absolute_max_metadata_size", options.max_header_bytes
    yield "grpc.max_concurrent_streams", _MAX_STREAMS
    # It also counts ended streams until they are freed, and so refuses calls of honest clients.
    yield "grpc.http.overload_protection", 0
    yield "grpc.max_allowed_incoming_connections", options.max_connections
    # By default the window grows with the bandwidth, even for calls that nobody reads.
    yield "grpc.http2.bdp_probe", 0
    yield "grpc.http2.lookahead_bytes", _STREAM_WINDOW
    # A ping beyond its strikes takes time by the number of those before: 5 MB of pings kept a core busy for 51 s.
    # Without strikes an answer costs less than a microsecond, and a client that reads none is not read either.
    yield "grpc.http2.max_ping_strikes", 0
    yield "grpc.keepalive_permit_without_calls", 1
    yield "grpc.keepalive_time_ms", _milliseconds(_KEEPALIVE_SECONDS)
    yield "grpc.keepalive_timeout_ms", _milliseconds(_KEEPALIVE_TIMEOUT_SECONDS)
    yield "grpc.http2.ping_timeout_ms", _milliseconds(_KEEPALIVE_TIMEOUT_SECONDS)  # else 60 s
    yield "grpc.max_connection_age_ms", _milliseconds(_AGE_SECONDS)
    yield "grpc.max_connection_age_grace_ms", _milliseconds(_GRACE_SECONDS)
    yield "grpc.max_connection_idle_ms", _milliseconds(options.keep_alive_seconds)
    yield "grpc.server_handshake_timeout_ms", _milliseconds(options.first_byte_timeout_seconds)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _credentials(options: RpcOptions) -> grpc.ServerCredentials | None:
    """Of the files of TLS, which are read at each handshake: the next connection is given a renewed certificate."""
    cert, key, ca = options.grpc_tls_cert_file, options.grpc_tls_key_file, options.grpc_tls_client_ca_file
    if not cert or not key:
        return None

    def contents() -> tuple[bytes, bytes, bytes | None]:
        return key.read_bytes(), cert.read_bytes(), ca.read_bytes() if ca else None

    known = contents()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        with suppress(OSError):  # a file that is being replaced
            if known != (known := contents()):
                return _configuration(*known)
        return None

    return grpc.dynamic_ssl_server_credentials(_configuration(*known), renewed, ca is not None)


def _configuration(key: bytes, cert: bytes, ca: bytes | None) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(key, cert)], ca)
