"""The operator's settings for the connection to Triton, and gRPC's options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from pydantic import SecretStr

from clipserve.engine.triton.address import Address, parse_address
from clipserve.engine.triton.connection import Channel
from clipserve.errors import BackendUnavailable

_CHANNEL: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A host that vanishes closes no connection; only unanswered pings tell. More often than this a server with
    # gRPC's defaults answers them with ENHANCE_YOUR_CALM.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Of other pings, which gRPC sends after any answer: as long as both together, or a server that stands still for
    # six seconds would lose its calls.
    ("grpc.http2.ping_timeout_ms", 15_000),
    # By default gRPC waits up to two minutes before it tries again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # In spite of its name, the time for a connection to be made: a busy server or a far one may need a second.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # Names that need no proxy (no_proxy) have become addresses here.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True)
class TritonOptions:
    """Triton's addresses and how to connect to them.

    Attributes:
        triton_url: host:port of the gRPC endpoints. A name stands for all its addresses.
        triton_tls: whether to encrypt. `triton_ca_file`: the certificates to trust; None: the system's.
        triton_token: sent with every call: for a proxy as `authorization: Bearer TOKEN`, for Triton itself as its
            key `token`, `--grpc-restricted-protocol=inference,health,model-config,statistics:token=TOKEN`.
        deadline_seconds: of a call that belongs to no request.
        look_up_seconds: between two look-ups of a name.
        silent_seconds: without a sign of life, after which a server counts as silent. A busy server on few cores
            may need a good part of it to answer; a stopped one gives none.
        ask_seconds: between two questions whether a server is ready.
        first_pause_seconds: between the first two probes of a sick server.
        max_batch_images, max_batch_texts: of the settings; None: what suits Triton.
    """

    triton_url: Sequence[str]
    triton_tls: bool = False
    triton_ca_file: Path | None = None
    triton_token: SecretStr | None = None
    deadline_seconds: float = 10.0
    look_up_seconds: float = 3.0
    silent_seconds: float = 1.0
    ask_seconds: float = 1.0
    first_pause_seconds: float = 1.0
    max_batch_images: int | None = None
    max_batch_texts: int | None = None

    @property
    def addresses(self) -> list[Address]:
        return [parse_address(each) for each in self.triton_url]

    @property
    def _headers(self) -> dict[str, str]:
        """Those that say who is asking."""
        if self.triton_token is None:
            return {}
        token = self.triton_token.get_secret_value()
        return {"authorization": f"Bearer {token}", "triton-grpc-protocol-token": token}

    def check_certificates(self) -> None:
        """Raises BackendUnavailable: the certificates cannot be read."""
        try:
            self._tls_credentials()
        except OSError as error:
            raise BackendUnavailable(f"{self.triton_ca_file} cannot be read: {error.strerror}") from None

    def connect(self, server: str, address: Address) -> Channel:
        """A channel to one server behind `address`. Raises OSError: the certificates cannot be read."""
        channel = [*_CHANNEL]
        if address.is_name:  # what its certificate, and a proxy in front of it, know it by
            option = "grpc.ssl_target_name_override" if self.triton_tls else "grpc.default_authority"
            channel.append((option, address.host if self.triton_tls else f"{address.host}:{address.port}"))
        return Channel(server, channel, self._headers, self._tls_credentials(), self.silent_seconds)

    def _tls_credentials(self) -> grpc.ChannelCredentials | None:
        if not self.triton_tls:
            return None
        file = self.triton_ca_file
        return grpc.ssl_channel_credentials(file.read_bytes() if file else None)
