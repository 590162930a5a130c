"""HTTP with an untrusted server: limits of bytes, values and time, and a check of each answer's shape.

A key is sent only over https or to this machine; requests to this machine bypass proxies. Redirects, cookies and
~/.netrc are ignored. One bound in time is for all of a try, however the server spends it. An answer is never
decompressed, is dropped beyond a limit of bytes, and is not parsed if it has more values than any answer of
clipserve. An answer of another shape than clipserve's becomes an error of one line.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from pydantic import ValidationError
from pydantic_core import from_json

from clipserve.api.answers import JsonAnswer
from clipserve.client.address import check_address, keeps_secrets, shown
from clipserve.client.errors import BadAddress, OddAnswer, Refused, Unreachable, refusal
from clipserve.client.shapes import ProblemShape
from clipserve.errors import BodyTooLarge, InvalidInput

MAX_BYTES = 32_000_000  # of one answer: twice the largest label set
_MAX_VALUES = 1_000_000  # of an answer: a label has five, so these are 200,000 labels
_CONNECT_SECONDS = 10.0
_MOST_ASKED_SECONDS = 600.0  # the longest Retry-After that is honoured
_HOPELESS = (
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
    httpx2.InvalidURL,
    ValueError,
    OverflowError,
)
_MOST_WORDS = 1_000  # characters of an error that are kept

S = TypeVar("S", bound=JsonAnswer)


@dataclass(frozen=True)
class Answer:
    """A whole answer. `url`: of the server."""

    url: str
    status: int
    headers: httpx2.Headers
    content: bytes

    @property
    def json(self) -> Any:
        """The parsed JSON; None if it is not JSON."""
        try:
            return from_json(self.content, allow_inf_nan=False)
        except ValueError:
            return None

    def shaped(self, shape: type[S]) -> S:
        """The JSON as `shape`. Raises OddAnswer: it has another shape, or too many values."""
        # Before parsing: two bytes may become a hundred in memory.
        if sum(map(self.content.count, (b",", b"[", b"{"))) > _MAX_VALUES:
            raise _odd(self.url, f"it has more than {_MAX_VALUES:,} values, the limit")
        if (found := self.json) is None:
            raise _odd(self.url, "it is not JSON")
        try:
            return shape.model_validate(found)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, fault["loc"])) or "all of it"
            raise _odd(self.url, f"{where}: {fault['msg']}") from None

    def refusal(self) -> Refused:
        """The error, in the words of the server that answered."""
        try:
            problem = self.shaped(ProblemShape)
            code, detail = problem.code, problem.detail[:_MOST_WORDS]
        except OddAnswer:  # of a proxy or another server
            words = self.content[:_MOST_WORDS].decode("utf-8", "replace").split()
            code, detail = f"HTTP {self.status}", " ".join(words)[:200] or "without a word"
            if self.status == httpx2.codes.CONTENT_TOO_LARGE:
                code, detail = BodyTooLarge.code, "a server on the way takes no body of this size."
        if self.status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            detail += " Give a key that it accepts for this: --key, CLIPSERVE_KEY, or the argument `key`."
        error = refusal(code, detail, self.headers.get("x-request-id"))
        error.status, error.retry_after = self.status, retry_after(self.headers)
        return error


def open_http(
    url: str, key: str | None, *, ca_file: str | Path | None, seconds: float, connections: int
) -> httpx2.AsyncClient:
    """An HTTP client for `url`. `ca_file`: certificates to trust, PEM; None: the system's. `seconds`: for a try.

    Raises:
        BadAddress: the address or the key is malformed, or the key would be sent unencrypted to another machine.
        OSError: `ca_file` cannot be read.
    """
    headers = check_address(url, key)
    local = url.lower().startswith("http:") and keeps_secrets(url)  # no proxy for addresses of this machine
    verify = False if url.lower().startswith("http:") else ssl.create_default_context(cafile=ca_file)
    return httpx2.AsyncClient(
        base_url=url.rstrip("/"),
        # A compressed body may decompress to any size.
        headers={"Accept-Encoding": "identity"} | headers,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # none: a server could send ever more
        trust_env=not local,
        verify=verify,
        timeout=httpx2.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS), pool=None),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
    )


async def exchange(client: httpx2.AsyncClient, method: str, path: str, **content: Any) -> Answer:
    """Send one request and read its whole answer, of any status.

    Raises:
        Unreachable: there is no answer, or not all of it within the client's timeout.
        OddAnswer: the answer is too long or compressed.
        Refused: a text is not valid Unicode.
    """
    where = shown(str(client.base_url))
    try:
        request = client.build_request(method, path, **content)
        request.read()  # the parts of a form together: each would be written by itself, five for each label
        async with asyncio.timeout(client.timeout.read):  # httpx2's own are for each piece, however small
            async with aclosing(await client.send(request, stream=True)) as response:
                body = await _body(response, where)
        return Answer(where, response.status_code, response.headers, body)
    except httpx2.ConnectTimeout:
        raise Unreachable(f"{where} cannot be connected to within {client.timeout.connect:g} s") from None
    except (TimeoutError, httpx2.TimeoutException):
        raise Unreachable(f"{where} does not answer within {client.timeout.read:g} s") from None
    except UnicodeEncodeError:
        raise refusal(InvalidInput.code, "a text is not valid Unicode.") from None
    except _HOPELESS as error:
        raise BadAddress(f"{where} cannot be asked: {reason_of(error)}") from None
    except (httpx2.HTTPError, OSError) as error:
        raise Unreachable(f"{where} cannot be asked: {reason_of(error)}") from None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number or a date in `Retry-After`; None: it is missing or malformed."""
    header = headers.get("retry-after", "")
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), _MOST_ASKED_SECONDS) if seconds == seconds else None


def reason_of(error: BaseException) -> str:
    """The error in one line: the system's message if it has one."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ConnectionError) and found.errno:
            return os.strerror(found.errno)
        found = found.__cause__ or found.__context__
    message = re.sub(r"^\[Errno -?\d+\] ", "", " ".join(str(error).split()))
    return message[:300].rstrip(".") or type(error).__name__


def _odd(url: str, what: str) -> OddAnswer:
    return OddAnswer(f"the server at {url} answered something that is not clipserve's: {what}")


async def _body(response: httpx2.Response, where: str) -> bytes:
    """Of an answer. Raises OddAnswer: it is too long or compressed."""
    content = bytearray()
    if (encoding := response.headers.get("content-encoding", "identity").lower()) != "identity":
        raise _odd(where, f"it is compressed ({encoding[:100]}), which was not asked for")
    async for part in response.aiter_raw():
        content += part
        if len(content) > MAX_BYTES:
            raise _odd(where, f"it has more than {MAX_BYTES:,} bytes, the limit")
    return bytes(content)
