"""Parses one HTTP/1.1 response from bytes, with limits. No sockets, no asyncio.

How it works. httptools (llhttp, the parser of Node) parses. Each header and each chunk costs a callback, so the
bytes that are not those of the body are limited: heads of any number (103 Early Hints), and what is between chunks.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

# Heads are a few kilobytes. A chunk of the usual kilobytes takes seven bytes more.
_FRAMING_BYTES = 32_768
_BODY_PER_FRAMING = 16


class NotAnImage(Exception):
    """An image is not fetched; the message is for the log."""


class Response:
    """A response while it arrives.

    Attributes:
        status: the status; 0 until the head is complete.
        headers: names in lower case; of several with one name the last.
        complete: the last byte of the body has arrived.
    """

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of the body."""
        self.status = 0
        self.headers: dict[bytes, str] = {}
        self.complete = False
        self._max_bytes = max_bytes
        self._body: list[bytes] = []
        self._size = self._framing = 0
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    @property
    def body(self) -> bytes:
        return b"".join(self._body)

    @property
    def announced(self) -> int | None:
        """The bytes that the body will have; None: unknown."""
        length = self.headers.get(b"content-length", "")
        return int(length) if length.isdecimal() else None

    def feed(self, data: bytes) -> None:
        """Consume the next bytes; none: the host has closed the connection.

        Raises:
            NotAnImage: they are not HTTP/1.1, or over a limit.
        """
        assert self._parser is not None
        if not data:
            self._end()
        before = self._size
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.complete:  # what comes after the response is nobody's
                raise NotAnImage(f"the answer is not HTTP/1.1: {error}") from None
        self._framing += len(data) - (self._size - before)
        self._check(self._size, self.announced or 0)

    def close(self) -> None:
        """Break the cycle with the parser, which holds this object."""
        self._parser = None

    def _end(self) -> None:
        """A body without a length ends with the connection; any other is torn."""
        if not self.status or not {b"content-length", b"transfer-encoding"}.isdisjoint(self.headers):
            raise NotAnImage("the host closed the connection before the end of its answer")
        self.complete = True

    def _check(self, *sizes: int) -> None:
        if max(sizes) > self._max_bytes:
            raise NotAnImage(f"the image has more than {self._max_bytes:,} bytes")
        if self._framing > _FRAMING_BYTES + self._size // _BODY_PER_FRAMING:
            raise NotAnImage(f"the answer has {self._framing:,} bytes of headers or between chunks")

    def on_message_begin(self) -> None:
        """Called by the parser, also for what follows an informational head."""
        if not self.complete:
            self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        if not self.complete:
            self.headers[name.lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if not self.complete and status >= 200:  # a lower one is informational: another head follows
            self.status = status

    def on_body(self, piece: bytes) -> None:
        """Called by the parser."""
        if not self.complete:
            self._size += len(piece)
            self._body.append(piece)

    def on_message_complete(self) -> None:
        """Called by the parser, also at the end of an informational head."""
        self.complete = self.status > 0
