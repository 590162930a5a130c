"""The reader of HTTP on raw bytes. In whatever pieces they come, it reads the same request, or refuses it."""

from __future__ import annotations

import zlib
from random import Random

from clipserve.errors import ClipError
from clipserve.http1.requests import IncomingRequest
from tests.abuse.fuzz.mutate import Material, mutated

_HEAD = b"POST /embed?a=%61 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
SEEDS = (
    _HEAD + b'Content-Length: 16\r\n\r\n{"texts": ["a"]}',
    _HEAD
    + b"Content-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5;ext=1\r\ndefgh\r\n0\r\nTrailer: x\r\n\r\n",
    _HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n000a\r\n0123456789\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /readyz HTTP/1.0\r\n\r\n",
    b"\r\n\r\nGET http://a/livez?x#y HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nabc",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc\r\nAccept: application/x-npy, */*;q=0.1\r\n\r\n",
)
WORDS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\n\n",
        b":",
        b" ",
        b"\t",
        b";",
        b"0\r\n\r\n",
        b"\0",
        b"\xff",
        b"\x0b",
    ),
    *(
        b"Content-Length: 1\r\n",
        b"Content-Length: 0\r\n",
        b"content-length:",
        b"18446744073709551616",
        b"-1",
        b"+1",
        b"0x",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"transfer-encoding:",
        b"chunked",
        b", chunked",
        b"identity",
        b"gzip",
    ),
    *(
        b"Connection: keep-alive\r\n",
        b"Connection: close\r\n",
        b"Upgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(
        b"GET ",
        b"POST ",
        b"CONNECT ",
        b"HEAD ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b" HTTP/9.9",
    ),
    *(
        b"f",
        b"ffffffff",
        b"fffffffffffffffff",
        b"1\r\na\r\n",
        b"1;a\r\n",
        b"0\r\n",
        b"a: b\r\n",
        b" folded\r\n",
        b"%00",
        b"#",
    ),
)
_MOST_HEADER_BYTES = 8_192
Read = tuple[object, ...]


class Different(Exception):
    """The same bytes in other pieces are another request."""


class Wire:
    """See the module."""

    def case(self, random: Random) -> bytes:
        material = Material(SEEDS, WORDS)
        return mutated(random, random.choice(SEEDS), material)

    def run(self, case: bytes) -> str:
        random = Random(zlib.crc32(case))
        whole = self._read([case])
        for longest in (1, 7, 60, 4_000):
            pieces, at = [], 0
            while at < len(case):
                size = random.randint(1, longest)
                pieces.append(case[at : at + size])
                at += size
            other = self._read(pieces) if len(case) < 500 * longest else whole
            if other != whole and "headers_too_large" not in (whole[0], other[0]):
                raise Different(f"{whole[0]} and {other[0]}")
        return str(whole[0])

    @staticmethod
    def _read(pieces: list[bytes]) -> Read:
        request = IncomingRequest(_MOST_HEADER_BYTES)
        body, behind = b"", b""
        try:
            for piece in pieces:
                if request.complete:
                    behind += piece
                else:
                    behind += request.feed(piece)
                    body += request.take()
        except ClipError as error:
            return (error.code,)
        finally:
            request.close()
        chunked = any(name == b"transfer-encoding" for name, _ in request.headers)
        word = "complete" if request.complete else "begun"
        # What follows a chunked body in the same piece is lost, and the connection is closed then.
        rest = () if chunked else (request.keep_alive, behind)
        head = (request.method, request.target, request.http_version, tuple(request.headers))
        return (word, body, rest, head if request.head_complete else ())
