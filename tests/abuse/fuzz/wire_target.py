"""The reader of HTTP on raw bytes. In whatever pieces they come, it reads the same request, or refuses it."""

from __future__ import annotations

import asyncio
import re
import zlib
from random import Random

from clipserve.connections import ConnectionLimits
from tests.abuse.fuzz.cases import edited
from tests.rest.wire import Echo, fed, protocol_of

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
# Separated by bars.
WORDS = (
    b"\r\n|\n|\r|\r\n\r\n|\n\n|:| |\t|;|0\r\n\r\n|\x00|\xff|\x0b|Content-Length: 1\r\n|Content-Length: 0\r\n|"
    b"-1|+1|0x|content-length:|18446744073709551616|Transfer-Encoding: chunked\r\n|transfer-encoding:|chunked|"
    b"gzip|, chunked|identity|Connection: keep-alive\r\n|Connection: close\r\n|Upgrade: websocket\r\n|"
    b"Expect: 100-continue\r\n|GET |POST |CONNECT |HEAD |PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n|HTTP/1.1|HTTP/1.0|"
    b" HTTP/9.9|f|ffffffff|%00|#|fffffffffffffffff|1\r\na\r\n|1;a\r\n|0\r\n|a: b\r\n| folded\r\n"
).split(b"|")
_LIMITS = ConnectionLimits(max_connections=4, keep_alive_seconds=60, max_header_bytes=8_192)
Read = tuple[object, ...]


class Different(Exception):
    """The same bytes in other pieces are another request."""


class Wire:
    """See the module."""

    cases = edited(SEEDS, WORDS)

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
        """`read` and the first request that the application got; without one the code of the refusal."""
        app = Echo()

        async def read() -> Read:
            protocol = protocol_of(app, _LIMITS)
            line = await fed(protocol, *pieces)
            requests = [
                (scope["method"], scope["raw_path"], scope["query_string"], tuple(scope["headers"]), body)
                for scope, body in app.asked
            ]
            found = re.search(rb'"code":"([a-z_]+)"', line.written)
            protocol.connection_lost(None)
            # What follows a request in the same piece is lost, and the connection is closed then.
            return ("read", *requests[:1]) if requests else (found[1].decode() if found else "read",)

        return asyncio.run(read())
