"""Single blocking requests to a server, without retries and without a kept connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from clipserve.client.address import shown
from clipserve.client.errors import BadAddress
from clipserve.client.http import Answer, exchange, open_http, reason_of


@dataclass(frozen=True)
class Server:
    """A server's address and how to call it.

    Attributes:
        url: http://host:port, with a path if the server is behind one.
        key: sent as `Authorization: Bearer KEY`.
        ca_file: certificates to trust, PEM; None: the system's.
        seconds: for a request and its whole answer.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    seconds: float = 30.0

    def result(self, method: str, path: str, *, json: object = None) -> Answer:
        """A successful answer.

        Raises:
            Refused: it is an error.
            Unreachable, OddAnswer: there is none, or it cannot be read.
        """
        answer = asyncio.run(self._ask(method, path, json))
        if answer.status >= 300:
            raise answer.refusal()
        return answer

    @property
    def shown(self) -> str:
        """The address, without user and password."""
        return shown(self.url)

    async def _ask(self, method: str, path: str, json: object) -> Answer:
        try:
            client = open_http(self.url, self.key, ca_file=self.ca_file, seconds=self.seconds, connections=1)
        except OSError as error:
            raise BadAddress(f"{self.shown} cannot be asked: {reason_of(error)}") from None
        async with client:
            return await exchange(client, method, path, json=json)
