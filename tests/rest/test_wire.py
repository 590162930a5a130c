"""Bytes become requests, however they are cut, and what is no request of HTTP/1.1 is refused."""

from __future__ import annotations

import errno
import json
import time
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from clipserve.connections import ConnectionLimits
from clipserve.rest.protocol import Protocol
from tests.rest.wire import Echo, Line, fed, protocol_of

LIMIT = 2_000
PLAIN = b"POST /embed?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
_CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = _CHUNKED_HEAD + b"2;e=1\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: t\r\n\r\n"
_UPGRADE = b"POST / HTTP/1.1\r\nHost: x\r\nUPgrade: h2c\r\nConnection: Upgrade, X\r\n"
UPGRADE = _UPGRADE + b"Content-Length: 5\r\n\r\nhello"
UPGRADE_CHUNKED = _UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
NO_BODY = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = _UPGRADE + b"Content-Length: %d\r\n\r\n" % len(NO_BODY) + NO_BODY
CLOSE = NO_BODY.replace(b"Host: x", b"Host: x\r\nConnection: close")


LIMITS = ConnectionLimits(
    max_connections=4,
    max_header_bytes=LIMIT,
    first_byte_timeout_seconds=10,
    header_timeout_seconds=20,
    keep_alive_seconds=60,
    write_timeout_seconds=40,
)


def connected() -> tuple[Protocol, Echo]:
    app = Echo()
    return protocol_of(app, LIMITS), app


async def asked(*pieces: bytes) -> list[tuple[Any, bytes]]:
    """(path, body) of the requests that the application has got, and whether the connection stays, at the end."""
    protocol, app = connected()
    line = await fed(protocol, *pieces)
    seen: list[tuple[Any, bytes]] = [(scope["path"], body) for scope, body in app.asked]
    assert line.written.count(b"HTTP/1.1 200 ") == len(seen), line.written
    return [*seen, ("ended" if line.ended else "open", b"")]


async def refused(*pieces: bytes) -> dict[str, Any]:
    """The problem that the client is told."""
    protocol, app = connected()
    line = await fed(protocol, *pieces)
    assert not app.asked
    head, _, body = line.written.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert line.ended
    return dict(json.loads(body))


@pytest.mark.parametrize(
    ("data", "path", "body"),
    [
        pytest.param(PLAIN, "/embed", b"hello", id="with a length"),
        pytest.param(CHUNKED, "/", b"hello", id="in chunks"),
        pytest.param(UPGRADE_CHUNKED, "/", b"hello", id="an upgrade in chunks"),
        pytest.param(SMUGGLED, "/", NO_BODY, id="an upgrade whose body is a request"),
        pytest.param(b"\r\n\r\n" + PLAIN, "/embed", b"hello", id="behind empty lines"),
        pytest.param(NO_BODY, "/livez", b"", id="without a body"),
    ],
)
async def test_a_request_is_the_same_wherever_its_bytes_are_cut(data: bytes, path: str, body: bytes) -> None:
    for cut in range(1, len(data)):
        assert await asked(data[:cut], data[cut:]) == [(path, body), ("open", b"")]
    one_by_one = [data[at : at + 1] for at in range(len(data))]
    assert await asked(*one_by_one) == [(path, body), ("open", b"")]


async def test_what_comes_behind_an_answer_is_the_next_request() -> None:
    seen = await asked(UPGRADE, NO_BODY, b"\r\n", PLAIN[:30], PLAIN[30:] + b"\r\n", CHUNKED)
    assert seen[1:] == [("/livez", b""), ("/embed", b"hello"), ("/", b"hello"), ("open", b"")]


@pytest.mark.parametrize("data", [PLAIN, UPGRADE, NO_BODY, CHUNKED])
async def test_what_comes_in_one_piece_behind_a_request_is_lost_and_the_connection_too(data: bytes) -> None:
    for cut in range(1, len(data)):
        for behind in (NO_BODY, NO_BODY[:9], b"\xff" * 9):
            seen = await asked(data[:cut], data[cut:] + behind, NO_BODY)
            assert [each[0] for each in seen[1:]] == ["ended"]


async def test_an_answer_that_ends_before_its_request_is_not_begun_again_by_the_rest_of_it() -> None:
    begun = []

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    protocol = protocol_of(refusing, LIMITS)
    line = await fed(protocol, *[PLAIN[at : at + 1] for at in range(len(PLAIN))])
    assert (len(begun), line.ended) == (1, True)


async def test_what_comes_before_an_answer_is_lost_and_the_connection_with_it() -> None:
    protocol, app = connected()
    protocol.data_received(NO_BODY)
    line = await fed(protocol, NO_BODY)
    assert (len(app.asked), line.ended) == (1, True)


async def test_a_client_that_has_left_is_no_error_of_its_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_connected(_: Line) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(Line, "write_eof", not_connected)
    protocol, app = connected()
    await fed(protocol, CLOSE)
    assert (len(app.asked), protocol._task) == (1, None)


async def test_a_trailer_is_no_header() -> None:
    protocol, app = connected()
    await fed(protocol, CHUNKED)
    assert [name for name, _ in app.asked[0][0]["headers"]] == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize(
    ("data", "end"),
    [
        pytest.param(NO_BODY, "open", id="HTTP 1.1"),
        pytest.param(CLOSE, "ended", id="Connection: close"),
        pytest.param(b"GET /livez HTTP/1.0\r\n\r\n", "ended", id="HTTP 1.0"),
        pytest.param(NO_BODY.replace(b"GET", b"HEAD"), "ended", id="HEAD"),
        pytest.param(NO_BODY.replace(b"GET", b"CONNECT"), "ended", id="CONNECT"),
    ],
)
async def test_whether_another_request_may_follow(data: bytes, end: str) -> None:
    assert await asked(data) == [("/livez", b""), (end, b"")]


async def test_a_large_answer_is_not_cut_off_while_its_client_takes_it_and_then_in_time() -> None:
    protocol, _ = connected()
    line = await fed(protocol, NO_BODY)
    now = time.monotonic()
    for second in range(1, 100):
        line.untaken = 200 - second
        protocol.check(now + second)
    assert (line.aborted, protocol.is_idle) == (False, False)
    protocol.check(now + 99 + LIMITS.write_timeout_seconds)
    assert not line.aborted
    protocol.check(now + 100 + LIMITS.write_timeout_seconds)
    assert line.aborted


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        pytest.param(b"", LIMITS.first_byte_timeout_seconds, id="nothing comes"),
        pytest.param(NO_BODY[:9], LIMITS.header_timeout_seconds, id="a head does not end"),
        pytest.param(NO_BODY, LIMITS.keep_alive_seconds, id="nothing comes behind an answer"),
        pytest.param(PLAIN[:-1], 1e9, id="the body of a request, whose time the application limits"),
    ],
)
async def test_a_connection_on_which_nothing_more_comes_is_closed_in_time(
    sent: bytes, seconds: float
) -> None:
    protocol, _ = connected()
    line = await fed(protocol, sent)
    now = time.monotonic()
    protocol.check(now + seconds - 1)
    assert not line.aborted
    protocol.check(now + seconds + 1)
    assert line.aborted == (seconds < 1e9)


# Limits.


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", id="target"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n%s: a\r\n\r\n", id="name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\na: %s\r\n\r\n", id="value"),
    ],
)
async def test_a_head_may_have_so_many_bytes_and_not_one_more(head: bytes) -> None:
    room = LIMIT - len(head) + 2
    assert len(await asked(head % (b"x" * room))) == 2
    beyond = head % (b"x" * (room + 1))
    for pieces in ([beyond], [beyond[:-1], beyond[-1:]], [beyond[:10], beyond[10:]]):
        told = await refused(*pieces)
        assert (told["code"], told["limit"], told["actual"]) == ("headers_too_large", LIMIT, LIMIT + 1)


def chunked(size: int, number: int) -> bytes:
    return _CHUNKED_HEAD + (b"%x\r\n" % size + b"x" * size + b"\r\n") * number + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"5;%s\r\nhello\r\n" % (b"x" * 10 * LIMIT), id="an extension of a chunk"),
        pytest.param(b"0\r\n%s: a\r\n\r\n" % (b"x" * 10 * LIMIT), id="the name of a trailer"),
        pytest.param(b"0\r\na: %s\r\n\r\n" % (b"x" * 10 * LIMIT), id="the value of a trailer"),
        pytest.param(chunked(1, 20_000).removeprefix(_CHUNKED_HEAD), id="chunks of one byte"),
    ],
)
async def test_what_is_between_chunks_and_behind_them_is_bounded_too(sent: bytes) -> None:
    pieces = [sent[at : at + 100] for at in range(0, len(sent), 100)]
    told = await refused(_CHUNKED_HEAD, *pieces)
    assert told["code"] == "headers_too_large"
    assert LIMIT < told["actual"] <= LIMIT + 100


# What is not HTTP/1.1.

_HOST = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na: b\r\n folded\r\n\r\n",
        _HOST + b"Content-Length: -5\r\n\r\n",
        _HOST + b"Content-Length: 5, 5\r\n\r\n",
        _HOST + b"Content-Length: %b\r\n\r\n" % (b"9" * 23),
        _HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        _HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        _HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        _HOST + b"Transfer-Encoding: gzip\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_wherever_it_is_cut(data: bytes) -> None:
    for cut in range(1, len(data)):
        assert (await refused(data[:cut], data[cut:]))["code"] == "malformed_request"


@pytest.mark.parametrize("body", [b"zz\r\n", b"2\r\nabc\r\n", b"ffffffffffffffffff\r\n"])
async def test_a_body_that_is_not_in_chunks_is_refused(body: bytes) -> None:
    for cut in range(1, len(body)):
        assert (await refused(_CHUNKED_HEAD + body[:cut], body[cut:]))["code"] == "malformed_request"
