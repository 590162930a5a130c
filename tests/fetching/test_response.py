"""Responses in bytes, whole and in pieces, and what a host may make this service parse."""

from __future__ import annotations

import pytest

from clipserve.fetching.response import NotAnImage, Response
from tests.fetching.support import HEAD

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
LENGTH = HEAD + b"Content-Length: 3\r\n\r\n"
# By what it is: the response, and whether the connection's end is its own.
GOOD: dict[str, tuple[bytes, bool]] = {
    "a length": (LENGTH + b"abc", False),
    "no length": (HEAD + b"\r\nabc", True),
    "chunks": (CHUNKED + b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\nTrailer: x\r\n\r\n", False),
    "heads before it": (EARLY * 3 + LENGTH + b"abc", False),
    "another response behind it": (LENGTH + b"abcHTTP/1.1 404 Not Found\r\nContent-Type: x\r\n\r\n", False),
    "anything behind it": (LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"abcdef", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nCONTENT-TYPE: image/png\r\n\r\nabc", True),
}
BAD: dict[str, bytes] = {
    "torn": LENGTH + b"ab",
    "torn in a chunk": CHUNKED + b"4\r\nab",
    "torn head": HEAD,
    "nothing": b"",
    "a length and chunks": HEAD
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length of 5,000 digits": HEAD + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
    "heads alone": EARLY * 3,
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "too much": HEAD + b"\r\n" + bytes(1_001),
    "too much announced": HEAD + b"Content-Length: 1001\r\n\r\n",
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("kind", GOOD)
def test_a_response_is_the_same_however_it_is_cut(kind: str, size: int) -> None:
    response, (data, ends) = Response(1_000), GOOD[kind]
    for start in range(0, len(data), size):
        if not response.complete:
            response.feed(data[start : start + size])
    if ends:
        assert not response.complete
        response.feed(b"")
    assert (response.complete, response.status, response.body) == (True, 200, b"abc")
    assert response.headers[b"content-type"] == "image/png"


def fed(response: Response, *pieces: bytes) -> None:
    for piece in pieces:
        response.feed(piece)


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_whole_response_is_refused(kind: str) -> None:
    with pytest.raises(NotAnImage):
        fed(Response(1_000), BAD[kind], b"")


# What a host may repeat for ever, after what.
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "early hints": (b"", EARLY),
    "headers": (HEAD, b"X: y\r\n"),
    "one header": (HEAD + b"X: ", b"y"),
    "chunks of two bytes": (CHUNKED, b"2\r\nab\r\n"),
    "extensions of a chunk": (CHUNKED + b"2;", b"x"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_nothing_is_parsed_for_ever(kind: str) -> None:
    """Of a kind that costs work and brings no bytes of an image: a few reads."""
    response, (head, repeated) = Response(10**9), ENDLESS[kind]
    response.feed(head or repeated)
    with pytest.raises(NotAnImage, match=r"bytes of headers or between chunks|is not HTTP/1\.1"):
        fed(response, *[repeated * (65_536 // len(repeated))] * 4)


def test_an_image_in_usual_chunks_is_taken() -> None:
    response, chunk = Response(10**9), b"400\r\n" + bytes(1_024) + b"\r\n"
    response.feed(CHUNKED)
    for _ in range(20_000 // 64):
        response.feed(chunk * 64)
    response.feed(b"0\r\n\r\n")
    assert (response.complete, len(response.body)) == (True, 20_000 // 64 * 64 * 1_024)
