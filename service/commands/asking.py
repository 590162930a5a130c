"""A running clipserve, asked over HTTP by a command."""

from __future__ import annotations

import re
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from service.commands.reading import can_be_sent


class CannotAsk(Exception):
    """The server cannot be reached, or does not speak HTTP; the message says why."""


class Refused(Exception):
    """The server has answered with an error: its own words, and its `status`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What came. `json`: the body, or None where it is not JSON; `began`, `ended`: seconds since the epoch."""

    status: int
    headers: httpx2.Headers
    text: str
    json: Any
    began: float
    ended: float


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
            CannotAsk: there is none.
        """
        if self.key and not can_be_sent(self.key):
            raise CannotAsk("the key has characters that no key has: look at --key or CLIPSERVE_KEY")
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        began = time.time()
        try:
            verify = self.trust() if self.url.startswith("https:") else False  # http has nothing to verify
            with httpx2.Client(timeout=self.seconds, verify=verify) as client:
                answer = client.request(method, self.url.rstrip("/") + path, headers=headers, json=json)
        except httpx2.TimeoutException:
            raise CannotAsk(f"{self.shown} does not answer within {self.seconds:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise CannotAsk(f"{self.shown} cannot be asked: {said(error)}") from None
        return Answer(answer.status_code, answer.headers, answer.text, _json(answer), began, time.time())

    def result(self, method: str, path: str, *, json: object = None) -> Any:
        """The JSON of an answer that is none of errors.

        Raises:
            CannotAsk: there is no answer, or it is not JSON.
            Refused: the answer is an error.
        """
        answer = self.ask(method, path, json=json)
        if answer.status >= 300:
            raise Refused(answer.status, _words(answer))
        if answer.json is None and answer.status != 204:
            raise CannotAsk(f"{self.shown} does not answer with JSON: is it a clipserve?")
        return answer.json

    def trust(self) -> ssl.SSLContext:
        """Certificates of servers are compared with these. Raises OSError: `ca_file` cannot be read."""
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def shown(self) -> str:
        """The address, without user and password."""
        try:
            parts = urlsplit(self.url)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"
        except ValueError:
            return "an address that cannot be read"


def said(error: Exception) -> str:
    """In one line."""
    message = re.sub(r"^\[Errno -?\d+\] ", "", " ".join(str(error).split()))
    return message[:300].rstrip(".") or type(error).__name__


def _json(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _words(answer: Answer) -> str:
    """Those of problem+json, with its code; else the status."""
    if isinstance(answer.json, dict) and isinstance(answer.json.get("detail"), str):
        code = answer.json.get("code") or answer.status
        return f"{code}: {answer.json['detail']}"
    return f"HTTP {answer.status}: {' '.join(answer.text.split())[:200]}"
