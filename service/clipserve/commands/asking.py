"""A running clipserve, asked over HTTP by a command."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from clipserve.commands.answers import Answer, CannotBeAsked, OddAnswer, client_options, exchange, shown


class CannotAsk(Exception):
    """The server cannot be reached, or does not speak HTTP; the message says why."""


class Refused(Exception):
    """The server has answered with an error: its own words, and its `status`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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
        """Any answer, errors too.

        Raises:
            CannotAsk: there is none, or none that can be read.
        """
        try:
            options = client_options(self.url, self.key)
            verify = (
                False if self.url.lower().startswith("http:") else self.trust()
            )  # http has nothing to verify
            with httpx2.Client(timeout=self.seconds, verify=verify, **options) as client:
                return exchange(client, method, self.url.rstrip("/") + path, json=json)
        except (CannotBeAsked, OddAnswer) as error:
            raise CannotAsk(str(error)) from None
        except httpx2.TimeoutException:
            raise CannotAsk(f"{self.shown} does not answer within {self.seconds:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, OverflowError) as error:
            raise CannotAsk(f"{self.shown} cannot be asked: {said(error)}") from None

    def result(self, method: str, path: str, *, json: object = None) -> Answer:
        """An answer that is none of errors.

        Raises:
            CannotAsk: there is no answer.
            Refused: the answer is an error.
        """
        answer = self.ask(method, path, json=json)
        if answer.status >= 300:
            raise Refused(answer.status, _words(answer))
        return answer

    def trust(self) -> ssl.SSLContext:
        """Certificates of servers are compared with these. Raises OSError: `ca_file` cannot be read."""
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def shown(self) -> str:
        """The address, without user and password."""
        return shown(self.url)


def said(error: Exception) -> str:
    """In one line."""
    message = re.sub(r"^\[Errno -?\d+\] ", "", " ".join(str(error).split()))
    return message[:300].rstrip(".") or type(error).__name__


def _words(answer: Answer) -> str:
    """Those of problem+json, with its code; else the status."""
    if (told := answer.problem()) is not None:
        return f"{told.code}: {told.detail}"
    return f"HTTP {answer.status}: {' '.join(answer.text.split())[:200]}"
