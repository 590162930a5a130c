"""A server asked once, by a program that has nothing to do meanwhile: no retries, and no connection is kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from clipserve.client.address import shown
from clipserve.client.errors import BadAddress
from clipserve.client.http import Answer, exchange, open_http, said


@dataclass(frozen=True)
class Server:
    """Where it is and how to ask it.

    Attributes:
        url: http://host:port, a path in front too.
        key: sent as `Authorization: Bearer KEY`.
        ca_file: certificates to trust, PEM; without it the system's.
        seconds: for an answer.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    seconds: float = 30.0

    def ask(self, method: str, path: str, *, json: object = None) -> Answer:
        """Any answer, errors too. Raises Unreachable, OddAnswer: there is none, or none that can be read."""
        return asyncio.run(self._ask(method, path, json))

    def result(self, method: str, path: str, *, json: object = None) -> Answer:
        """An answer that is none of errors. Raises Unreachable, OddAnswer, and Refused: it is an error."""
        answer = self.ask(method, path, json=json)
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
            raise BadAddress(f"{self.shown} cannot be asked: {said(error)}") from None
        async with client:
            return await exchange(client, method, path, json=json)
