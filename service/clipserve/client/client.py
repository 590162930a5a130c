"""CLIP at a server that runs, for programs without an event loop."""

from __future__ import annotations

from pathlib import Path

from clipserve.client.blocking import Blocking
from clipserve.client.remote import URL, AsyncClient


class Client(Blocking):
    """CLIP at a server that runs: `AsyncClient`, for programs without an event loop.

    Connections are kept and used again: make one client and keep it. Threads may share it.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        key: str | None = None,
        model: str | None = None,
        expect_fingerprint: str | None = None,
        ca_file: str | Path | None = None,
        timeout: float = 60.0,
        retry_seconds: float = 120.0,
        in_flight: int = 16,
    ) -> None:
        """See `AsyncClient`, whose arguments and errors these are."""
        super().__init__(
            AsyncClient(
                url,
                key=key,
                model=model,
                expect_fingerprint=expect_fingerprint,
                ca_file=ca_file,
                timeout=timeout,
                retry_seconds=retry_seconds,
                in_flight=in_flight,
            )
        )
