"""Requests to a server: one bound in time for each try, retries by Retry-After, answers of known types.

A key is sent only over https or to this machine, and requests to this machine bypass proxies.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import os
import ssl
import time
from calendar import timegm
from contextlib import suppress
from email.utils import parsedate
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
from pydantic import TypeAdapter, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay, wait_exponential
from tenacity.wait import wait_random

from clipserve.api.answers import Answer, ItemError
from clipserve.client.errors import BadAddress, OddAnswer, Refused, Unreachable, refusal
from clipserve.errors import BackendFailed, BodyTooLarge, InvalidInput

S = TypeVar("S", bound=Answer)

# Includes a proxy's answers for an absent server, and a missed deadline.
_LATER = frozenset({408, 425, 429, 502, 503, 504})
MAX_ANSWER_BYTES = 16_000_000  # as parsed objects they take several times as much
_backoff = wait_exponential(multiplier=0.5, max=30)  # without a Retry-After
_jitter = wait_random(1.0, 1.25)  # a factor, so that clients refused together do not retry together


class Connection:
    """Requests to one server. One that waits to be repeated keeps its place, so that the server gets fewer."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        ca_file: str | Path | None = None,
        seconds: float = 30.0,
        retry_seconds: float = 0.0,
        in_flight: int = 1,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """See `AsyncClient`. `seconds`: for a try. `transport`: in place of the network, for tests."""
        parsed = _checked(url, key)
        plain = parsed.scheme == "http"
        try:
            verify = False if plain else ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise BadAddress(f"{ca_file} has no certificates to trust: {_reason(error)}") from error
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            trust_env=not (plain and _is_here(parsed)),  # no proxy for addresses of this machine
            verify=verify,
            timeout=httpx2.Timeout(seconds, pool=None),
            limits=httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight),
            transport=transport,
        )
        self.url = url.rstrip("/")
        self._seconds, self._retry_seconds, self._most = seconds, retry_seconds, max_answer_bytes
        self._places = asyncio.Semaphore(in_flight)
        self._has_answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(
        self, method: str, path: str, shape: type[S], *, most_bytes: int | None = None, **content: Any
    ) -> S:
        """The answer of a successful request, after retries. `content`: as httpx takes it. `most_bytes`: of it.

        Raises Refused, also for a text that is no Unicode; Unreachable; OddAnswer.
        """
        stop = stop_before_delay(self._retry_seconds)
        again = AsyncRetrying(retry=retry_if_exception(self._may_pass), wait=_wait, stop=stop, reraise=True)
        most = self._most
        async with self._places:
            found: bytes = await again(self._once, method, path, content, min(most_bytes or most, most))
        try:
            answer: S = _adapter(shape).validate_json(found or b"{}")  # type: ignore[arg-type] # types are hashable
            return answer
        except ValidationError as error:
            fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(["its answer", *map(str, fault["loc"])])
            raise OddAnswer(f"{self.url} is not a clipserve server: {where}: {fault['msg']}.") from None

    async def _once(self, method: str, path: str, content: dict[str, Any], most: int) -> bytes:
        try:
            request = self._http.build_request(method, path, **content)
            request.read()  # the parts of a form together: each would be written by itself, five for each label
            async with asyncio.timeout(self._seconds):  # httpx's own limits are for each piece, however small
                response = await self._http.send(request, stream=True)
                try:
                    found = await self._read(response, most)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise Unreachable(f"{self.url} does not answer within {self._seconds:g} s") from error
        except UnicodeEncodeError:
            raise refusal(InvalidInput.code, "a text is not valid Unicode.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, OverflowError) as error:
            raise Unreachable(f"{self.url} cannot be asked: {_reason(error)}") from error
        self._has_answered = True
        if response.is_success:
            return found
        raise _refusal(response, found)

    async def _read(self, response: httpx2.Response, most: int) -> bytes:
        found = bytearray()
        async for piece in response.aiter_bytes():
            found += piece
            if len(found) > most:
                said = f"{self.url} answers with more than {most:,} bytes, the limit of what was asked for"
                raise OddAnswer(f"{said}: ask for less, or raise `max_answer_bytes`, now {self._most:,}.")
        return bytes(found)

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, Refused):
            return error.status in _LATER and error.code != BackendFailed.code
        return isinstance(error, Unreachable) and self._has_answered  # before, the address may be wrong


def ask_once(
    url: str, key: str | None, ca_file: Path | None, method: str, path: str, shape: type[S], **content: Any
) -> S:
    """A single blocking request, without retries; see `Connection`. Raises ClipserveError."""

    async def asked() -> S:
        async with Connection(url, key, ca_file=ca_file) as connection:
            return await connection.ask(method, path, shape, **content)

    return asyncio.run(asked())


@functools.cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def _checked(url: str, key: str | None) -> httpx2.URL:
    """The parsed address. Raises BadAddress: see `Connection`."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadAddress("the address must begin with http:// or https://, as http://localhost:8080 does")
    if parsed.userinfo:
        raise BadAddress("the address must be without a user: services know keys alone.")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise BadAddress(
            "the key has characters that no key has: look at --key, CLIPSERVE_KEY or the argument `key`"
        )
    if key and parsed.scheme == "http" and not _is_here(parsed):
        raise BadAddress(
            f"the key is not sent to {parsed.host} over http, where it can be read on the way: ask over https, or "
            "without a key"
        )
    return parsed


def _is_here(url: httpx2.URL) -> bool:
    host = url.raw_host.decode("ascii")  # the host that is connected to
    with suppress(ValueError):
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    return False


def _refusal(response: httpx2.Response, content: bytes) -> Refused:
    """The error, in the words of the server that answered."""
    status = response.status_code
    try:
        problem = _adapter(ItemError).validate_json(content)
        code, detail = problem.code, problem.detail
    except ValidationError:  # of a proxy or another server
        code = BodyTooLarge.code if status == httpx2.codes.CONTENT_TOO_LARGE else f"HTTP {status}"
        detail = " ".join(content[:4_096].decode(errors="replace").split())[:200] or "without a word"
    if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
        detail += " Give a key that it accepts for this: --key, CLIPSERVE_KEY, or the argument `key`."
    error = refusal(code, detail, response.headers.get("x-request-id"))
    error.status, error.retry_after = status, _seconds(response.headers.get("retry-after", ""))
    return error


def _seconds(asked: str) -> float | None:
    """Of a Retry-After: a number, or a date, which is always GMT (RFC 9110). None: it says nothing."""
    with suppress(ValueError, TypeError, OverflowError):
        date = 0 if asked[:1].isdecimal() else timegm(parsedate(asked))  # type: ignore[arg-type] # None: no date
        return max(0.0, date - time.time()) if date else float(asked)
    return None


def _reason(error: BaseException) -> str:
    """The system's message if there is one."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ConnectionError) and found.errno:
            return os.strerror(found.errno)
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return str(error) or type(error).__name__


def _wait(state: RetryCallState) -> float:
    error = state.outcome and state.outcome.exception()
    asked = error.retry_after if isinstance(error, Refused) else None
    return (asked or _backoff(state)) * _jitter(state)  # 0 says nothing: the client would only repeat
