"""Answers of servers: whom a command may ask, how much it reads of an answer, and which shapes it believes.

Nothing of a server is trusted. Its answer is read a piece at a time, never decompressed, and dropped above a limit
of bytes or of time; what has not the shape of a clipserve's answer becomes one line, whatever it is instead.
"""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar

import httpx2
from pydantic import ValidationError
from pydantic_core import from_json

from clipserve.commands.shapes import Problem, Shape

MAX_BYTES = 32_000_000  # of one answer: twice the largest label set
_SECONDS = 60.0  # from the head of an answer to its end
_MOST_WORDS = 1_000  # characters of an error that are told and kept

S = TypeVar("S", bound=Shape)


class CannotBeAsked(Exception):
    """The address, or the key, is none that a command sends a request with; the message says why."""


class OddAnswer(Exception):
    """It is too long, or none of a clipserve; the message says which server answered, and what is odd."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(f"the server at {url} answered something that is not clipserve's: {what}")


@dataclass(frozen=True)
class Answer:
    """What came, whole. `url`: of the server; `began`, `ended`: seconds since the epoch."""

    url: str
    status: int
    headers: httpx2.Headers
    content: bytes
    began: float
    ended: float

    @property
    def json(self) -> Any:
        """None where it is not JSON."""
        try:
            return from_json(self.content, allow_inf_nan=False)
        except ValueError:
            return None

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def shaped(self, shape: type[S]) -> S:
        """The JSON of it. Raises OddAnswer: it has another shape."""
        if (found := self.json) is None:
            raise OddAnswer(self.url, "it is not JSON")
        try:
            return shape.model_validate(found)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, fault["loc"])) or "all of it"
            raise OddAnswer(self.url, f"{where}: {fault['msg']}") from None

    def problem(self) -> Problem | None:
        """The error that it is; None where a proxy, or another server, has answered."""
        try:
            told = self.shaped(Problem)
        except OddAnswer:
            return None
        return told.model_copy(update={"detail": told.detail[:_MOST_WORDS]})


def client_options(url: str, key: str | None) -> dict[str, Any]:
    """What every client is made with.

    Raises:
        CannotBeAsked: no service has such an address or key, or the key could be read on the way.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise CannotBeAsked("--url cannot be read: write http://host:port, or https://") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CannotBeAsked("--url must be the address of a service, such as http://localhost:8080")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise CannotBeAsked("the key has characters that no key has: look at --key or CLIPSERVE_KEY")
    if key and not keeps_secrets(url):
        raise CannotBeAsked(
            f"the key is not sent to {parsed.host} over http, where it can be read on the way: ask over https, or "
            "without a key (--key, CLIPSERVE_KEY)"
        )
    # A body that is compressed may become any size. Cookies of a server are not kept: it could send ever more.
    headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
    local = parsed.scheme == "http" and keeps_secrets(url)  # what stays here goes through no proxy
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return {"headers": headers, "cookies": jar, "trust_env": not local}


def keeps_secrets(url: str) -> bool:
    """Whether nobody on the way reads what is sent: it is encrypted, or stays on this machine."""
    try:
        parsed = httpx2.URL(url)
        host = parsed.raw_host.decode("ascii")  # the one that is connected to
        return parsed.scheme == "https" or host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx2.InvalidURL, ValueError):
        return False


def exchange(client: httpx2.Client, method: str, url: str, **content: Any) -> Answer:
    """One request, and all of its answer. Raises OddAnswer, and what the client raises."""
    began = time.time()
    with client.stream(method, url, **content) as response:
        body = _Body(response)
        for part in response.iter_raw():
            body.add(part)
    return body.answer(began)


async def exchange_later(client: httpx2.AsyncClient, method: str, url: str, **content: Any) -> Answer:
    """The same where many are under way."""
    began = time.time()
    async with client.stream(method, url, **content) as response:
        body = _Body(response)
        async for part in response.aiter_raw():
            body.add(part)
    return body.answer(began)


def shown(url: str) -> str:
    """An address without user, password and options."""
    try:
        return str(httpx2.URL(url).copy_with(userinfo=b"", query=None, fragment=None)).rstrip("/")
    except (httpx2.InvalidURL, ValueError):
        return "an address that cannot be read"


class _Body:
    """Of an answer, as it comes."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._url = shown(str(response.request.url.copy_with(path="/")))
        self._content = bytearray()
        self._until = time.monotonic() + _SECONDS
        if (encoding := response.headers.get("content-encoding", "identity").lower()) != "identity":
            raise OddAnswer(self._url, f"it is compressed ({encoding[:100]}), which was not asked for")

    def add(self, part: bytes) -> None:
        self._content += part
        if len(self._content) > MAX_BYTES:
            raise OddAnswer(self._url, f"it has more than {MAX_BYTES:,} bytes, the limit")
        if time.monotonic() > self._until:
            raise OddAnswer(self._url, f"it does not end within {_SECONDS:g} s")

    def answer(self, began: float) -> Answer:
        response = self._response
        return Answer(
            self._url, response.status_code, response.headers, bytes(self._content), began, time.time()
        )
