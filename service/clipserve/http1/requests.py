"""Parses one HTTP/1.1 request from bytes, with limits. No sockets, no asyncio.

How it works. httptools (llhttp, the parser of Node) parses all bytes that it gets: several requests at once, header
values of any length, endless trailers. So it gets only bytes that it should parse:

- the bytes of the head up to the first empty line, counted before they are parsed;
- no body with a Content-Length: that is the next so many bytes;
- a chunked body in small pieces, with the bytes between those of the body counted.

Bytes after the request return to the caller unparsed. So the next request waits as plain bytes until this one is
answered, and each request has its own parser, which no earlier request has touched.

`Upgrade` is ignored, as RFC 9110 allows (7.8): the parser takes the head's end for the end of HTTP, but the body is
read as above.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from clipserve.errors import ClipError, HeadersTooLarge, MalformedRequest, check_limit

_HEAD_END = b"\r\n\r\n"
_LINE_ENDS = (b"\r", b"\n")
# The parser cannot stop at the end of a chunked body: bytes after it in the same piece are lost.
_PIECE = 16_384
# Bytes of the body that allow one byte between chunks. A chunk of one byte takes five others, and a callback.
_CHUNK = 8
# As in Apache (LimitRequestFields): more are useless, and each costs a callback and time in every look-up.
_MAX_HEADERS = 100
# Of a Content-Length. The parser counts in 64 bits, but reads any number of leading zeros.
_MAX_LENGTH_DIGITS = 19

_CHUNKS_FOLLOW = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


class IncomingRequest:
    """A request while it arrives.

    Attributes:
        headers: names in lower case, in order.
        begun: its first byte has arrived.
        head_complete: the head has arrived.
        complete: the last byte of the body has arrived.
        keep_alive: another request may follow on this connection.
        expects_continue: the client waits for 100 Continue before it sends the body.
        buffered: bytes of the body that `take` would return.
    """

    def __init__(self, max_header_bytes: int) -> None:
        """`max_header_bytes`: of the request line and headers together; and again of trailers."""
        self.method = ""
        self.target = b""
        self.http_version = "1.1"
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = self.head_complete = self.complete = False
        self.keep_alive = self.expects_continue = False
        self.buffered = 0
        self._limit = max_header_bytes
        self._room = _MAX_HEADERS  # for more headers
        self._header_bytes = 0  # of the head; then since the last byte of a chunked body
        self._tail = b""  # the head's last bytes: a read may split its end
        self._between = 0  # bytes between the bytes of a chunked body, minus those that it allows
        self._missing = 0  # bytes of a body that is not chunked
        self._body: list[bytes] = []
        self._parser: HttpRequestParser | None = HttpRequestParser(self)

    def feed(self, data: bytes) -> bytes:
        """Consume the bytes of this request; return the bytes after it.

        Raises:
            MalformedRequest: it is not HTTP/1.1.
            HeadersTooLarge: too many bytes or headers.
        """
        self.begun = True
        if not self.head_complete:
            data = self._feed_head(data)
        if not data or self.complete:
            return data
        return self._feed_chunks(data) if self._parser else self._take_missing(data)

    def take(self) -> bytes:
        """The bytes of the body that arrived since the last call."""
        taken = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.buffered = 0
        return taken

    def close(self) -> None:
        """Break the cycle with the parser, which holds this object."""
        self._parser = None

    def _feed_head(self, data: bytes) -> bytes:
        if (
            not self._tail and data[:1] in _LINE_ENDS
        ):  # RFC 9112 (2.2): empty lines before a request are ignored
            size = len(data)
            data = data.lstrip(b"\r\n")
            self._count_head(size - len(data))
        while data and not self.head_complete:
            end = self._end_of_head(data)
            piece, data = data[:end], data[end:]
            self._count_head(end)
            self._tail = (self._tail + piece[-3:])[-3:]
            self._parse(piece)
        if self.head_complete:
            self._begin_body()
        return data

    def _count_head(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limit:
            message = "the request line and the headers have {:,} bytes or more"
            check_limit(HeadersTooLarge, message, self._header_bytes, self._limit)

    def _end_of_head(self, data: bytes) -> int:
        if self._tail:
            cut = (self._tail + data[:3]).find(_HEAD_END)
            if cut >= 0:
                return cut + len(_HEAD_END) - len(self._tail)
        end = data.find(_HEAD_END)
        return len(data) if end < 0 else end + len(_HEAD_END)

    def _begin_body(self) -> None:
        fields = dict(self.headers)
        if len(fields) < len(self.headers):
            self._check_once()
        if b"host" not in fields and self.http_version == "1.1":
            raise MalformedRequest("the request has no Host header; send one.")
        encoding = fields.get(b"transfer-encoding")
        if encoding is not None and encoding.strip().lower() != b"chunked":
            raise MalformedRequest("Transfer-Encoding must be chunked.")
        length = fields.get(b"content-length", b"0")  # digits: the parser has checked
        if len(length) > _MAX_LENGTH_DIGITS:
            raise MalformedRequest(
                f"Content-Length has {len(length):,} digits; the limit is {_MAX_LENGTH_DIGITS}."
            )
        self._missing = int(length)
        self.complete = encoding is None and not self._missing
        if b"expect" in fields:
            self.expects_continue = not self.complete and fields[b"expect"].lower() == b"100-continue"
        self._parser = None
        if encoding is not None:
            self._header_bytes = 0
            self._parser = HttpRequestParser(_Chunks(self))
            self._parser.feed_data(_CHUNKS_FOLLOW)

    def _check_once(self) -> None:
        """Refuse duplicates, of which a proxy may have read the other one; RFC 9112 (3.2) requires one Host."""
        names = [name for name, _ in self.headers]
        for name in (b"authorization", b"host", b"transfer-encoding"):
            if (count := names.count(name)) > 1:
                raise MalformedRequest(f"the request has {count} {name.decode().title()} headers; send one.")

    def _take_missing(self, data: bytes) -> bytes:
        piece, behind = data[: self._missing], data[self._missing :]
        size = len(piece)
        self._body.append(piece)
        self.buffered += size
        self._missing -= size
        self.complete = not self._missing
        return behind

    def _feed_chunks(self, data: bytes) -> bytes:
        pieces = memoryview(data)
        while pieces and not self.complete:
            piece, pieces = pieces[:_PIECE], pieces[_PIECE:]
            before = self.buffered
            self._parse(piece)
            of_body = self.buffered - before
            self._header_bytes = 0 if of_body else self._header_bytes + len(piece)
            self._between += len(piece) - of_body * (_CHUNK + 1) // _CHUNK
            message = "what is between chunks of the body has {:,} bytes or more"
            check_limit(HeadersTooLarge, message, max(self._header_bytes, self._between), self._limit)
        if self.complete:
            self.close()
        return bytes(pieces)

    def _parse(self, piece: bytes | memoryview) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            if self.complete:  # bytes after a chunked body, in the same piece
                self.keep_alive = False
            elif isinstance(error.__context__, ClipError):
                raise error.__context__ from None
            else:
                raise MalformedRequest(f"the request is not HTTP/1.1: {_reason(error)}.") from None

    def add(self, piece: bytes) -> None:
        """Add a piece of the body; called by the parser of chunks."""
        self._body.append(piece)
        self.buffered += len(piece)

    # Callbacks of the parser of the head.

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))
        self._room -= 1
        if self._room < 0:
            raise HeadersTooLarge(
                f"the request has more than {_MAX_HEADERS} headers.",
                limit=_MAX_HEADERS,
                actual=len(self.headers),
            )

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.head_complete = True
        self.method = self._parser.get_method().decode()
        self.http_version = self._parser.get_http_version()
        if self.http_version not in ("1.0", "1.1"):
            raise MalformedRequest(f"HTTP/{self.http_version} is not supported: use HTTP/1.1.")
        self.keep_alive = self.http_version == "1.1" and self._parser.should_keep_alive()


class _Chunks:
    """Callbacks of the parser of a chunked body."""

    def __init__(self, request: IncomingRequest) -> None:
        self._request = request
        self.on_body = request.add

    def on_message_begin(self) -> None:
        if self._request.complete:
            raise ValueError("one body only")

    def on_message_complete(self) -> None:
        self._request.complete = True


def _reason(error: HttpParserError) -> str:
    """The parser's reason, which is a fixed text; it says nothing about an error in our callbacks."""
    return str(error).strip(" .'\"").lower() or "it cannot be parsed"
