"""One request out of bytes, however they are cut, and no more of them than the limit."""

from __future__ import annotations

import time

import pytest

from clipserve.errors import ClipError, HeadersTooLarge, MalformedRequest
from clipserve.http1.answers import answer_head, chunk
from clipserve.http1.requests import IncomingRequest

LIMIT = 2_000

PLAIN = b"POST /embed?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;e=1\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: t\r\n\r\n"
)
UPGRADE = (
    b"POST / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, X\r\nContent-Length: 5\r\n\r\nhello"
)
UPGRADE_CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\n\r\n"
)
EMPTY_LINES_FIRST = b"\r\n\r\n" + PLAIN
NO_BODY = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def fed(*pieces: bytes, limit: int = LIMIT) -> tuple[IncomingRequest, bytes]:
    """The request, and what was behind it."""
    request, behind = IncomingRequest(limit), b""
    for piece in pieces:
        behind += piece if request.complete else request.feed(piece)
    return request, behind


def refused(*pieces: bytes, limit: int = LIMIT) -> ClipError:
    with pytest.raises(ClipError) as caught:
        fed(*pieces, limit=limit)
    return caught.value


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (PLAIN, b"hello"),
        (CHUNKED, b"hello"),
        (UPGRADE, b"hello"),
        (UPGRADE_CHUNKED, b"hello"),
        (EMPTY_LINES_FIRST, b"hello"),
        (NO_BODY, b""),
    ],
)
def test_a_request_is_the_same_wherever_its_bytes_are_cut(data: bytes, body: bytes) -> None:
    whole, _ = fed(data)
    for cut in range(1, len(data)):
        request, behind = fed(data[:cut], data[cut:])
        assert (request.complete, request.keep_alive, behind) == (True, True, b"")
        assert (request.method, request.target) == (whole.method, whole.target)
        assert request.headers == whole.headers
        assert request.take() == body
    one_by_one, _ = fed(*(data[at : at + 1] for at in range(len(data))))
    assert one_by_one.complete
    assert one_by_one.take() == body


@pytest.mark.parametrize("data", [PLAIN, UPGRADE, NO_BODY])
def test_what_comes_behind_a_request_is_given_back_as_it_is(data: bytes) -> None:
    for behind in (b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00not HTTP at all", b"\r\n"):
        for cut in range(1, len(data)):
            _, given_back = fed(data[:cut], data[cut:] + behind)
            assert given_back == behind


def test_what_comes_behind_a_chunked_body_in_the_same_piece_is_lost_and_the_connection_with_it() -> None:
    request, behind = fed(CHUNKED + NO_BODY)
    assert request.complete
    assert request.take() == b"hello"
    assert not request.keep_alive
    assert behind == b""


def test_a_head_is_complete_before_its_body() -> None:
    head = PLAIN[:-5]
    request, _ = fed(head)
    assert (request.head_complete, request.complete) == (True, False)
    assert request.headers == [(b"host", b"x"), (b"content-length", b"5")]
    request.feed(b"he")
    assert (request.take(), request.buffered, request.complete) == (b"he", 0, False)
    request.feed(b"llo")
    assert (request.take(), request.complete) == (b"llo", True)


def test_a_client_that_waits_is_known() -> None:
    expecting = PLAIN.replace(b"Host: x", b"Host: x\r\nExpect: 100-Continue")
    assert fed(expecting[:-5])[0].expects_continue
    assert not fed(NO_BODY.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"))[0].expects_continue


@pytest.mark.parametrize(
    ("data", "keeps_alive"),
    [
        (NO_BODY, True),
        (NO_BODY.replace(b"Host: x", b"Host: x\r\nConnection: close"), False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
    ],
)
def test_whether_another_request_may_follow(data: bytes, keeps_alive: bool) -> None:
    assert fed(data)[0].keep_alive is keeps_alive


# Limits.


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n%s: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na: %s\r\n\r\n",
    ],
)
def test_a_head_may_have_so_many_bytes_and_not_one_more(head: bytes) -> None:
    fits = head % (b"x" * (LIMIT - len(head) + 2))
    assert fed(fits)[0].complete
    beyond = head % (b"x" * (LIMIT - len(head) + 3))
    for pieces in ([beyond], [beyond[:-1], beyond[-1:]]):
        error = refused(*pieces)
        assert isinstance(error, HeadersTooLarge)
        assert (error.limit, error.actual) == (LIMIT, LIMIT + 1)


def test_a_head_that_never_ends_is_refused_as_soon_as_it_is_too_long() -> None:
    error = refused(b"GET / HTTP/1.1\r\nHost: x\r\na: ", *[b"x" * 10] * LIMIT)
    assert isinstance(error, HeadersTooLarge)
    assert error.actual is not None
    assert LIMIT < error.actual <= LIMIT + 10


def test_a_request_may_have_a_hundred_headers_and_not_one_more() -> None:
    def headers(number: int) -> bytes:
        return (
            b"GET / HTTP/1.1\r\nHost: x\r\n"
            + b"".join(b"h%d: a\r\n" % i for i in range(number - 1))
            + b"\r\n"
        )

    assert len(fed(headers(100))[0].headers) == 100
    error = refused(headers(101))
    assert isinstance(error, HeadersTooLarge)
    assert (error.limit, error.actual) == (100, 101)


@pytest.mark.parametrize(
    "between",
    [b"5;%s\r\nhello\r\n", b"0\r\n%s: a\r\n\r\n", b"0\r\na: %s\r\n\r\n"],
)
def test_what_is_between_chunks_and_behind_them_is_bounded_too(between: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    fits = between % (b"x" * 1_000)
    assert fed(head, fits)[0].buffered in (0, 5)
    beyond = between % (b"x" * 10 * LIMIT)
    error = refused(head, *(beyond[at : at + 100] for at in range(0, len(beyond), 100)))
    assert isinstance(error, HeadersTooLarge)
    assert error.actual is not None
    assert LIMIT < error.actual <= LIMIT + 100


def chunked(size: int, number: int) -> bytes:
    chunks = (b"%x\r\n" % size + b"x" * size + b"\r\n") * number
    return b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize(("size", "number"), [(1, 300), (48, 10_000), (4_096, 100)])
def test_small_chunks_are_a_body_like_any_other(size: int, number: int) -> None:
    request, _ = fed(chunked(size, number))
    assert request.complete
    assert request.take() == b"x" * size * number


def test_very_many_of_a_few_bytes_are_refused() -> None:
    data = chunked(1, 20_000)
    error = refused(*(data[at : at + 100] for at in range(0, len(data), 100)))
    assert isinstance(error, HeadersTooLarge)
    assert error.actual is not None
    assert LIMIT < error.actual <= LIMIT + 100


def test_empty_lines_before_a_request_are_counted_and_cost_nothing() -> None:
    started = time.thread_time()
    request, _ = fed(b"\r\n" * 500_000 + NO_BODY, limit=2_000_000)
    assert request.complete
    assert time.thread_time() - started < 0.1
    for pieces in ([b"\r\n" * LIMIT + NO_BODY], [b"\r\n"] * LIMIT):
        assert isinstance(refused(*pieces), HeadersTooLarge)


# What is not HTTP/1.1.


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET /\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na: \x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na: b\r\n folded\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1_5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \xd9\xa1\xd9\xa6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"5".zfill(1_000) + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    ],
)
def test_what_is_not_http_is_refused_wherever_it_is_cut(data: bytes) -> None:
    for cut in range(1, len(data)):
        assert isinstance(refused(data[:cut], data[cut:]), MalformedRequest)


# Answers.


def test_an_answer_s_head_says_whether_the_connection_stays() -> None:
    headers = [(b"content-length", b"2")]
    assert (
        answer_head(200, headers, keep_alive=True, chunked=False)
        == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    )
    assert answer_head(404, [], keep_alive=False, chunked=True) == (
        b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )


def test_an_answer_in_chunks_ends_with_an_empty_one_and_has_no_other() -> None:
    assert chunk(b"0123456789abcdef", last=False) == b"10\r\n0123456789abcdef\r\n"
    assert chunk(b"", last=False) == b""
    assert chunk(b"a", last=True) == b"1\r\na\r\n0\r\n\r\n"
    assert chunk(b"", last=True) == b"0\r\n\r\n"
