"""Requests that are no HTTP, or HTTP that no honest client sends. Each is refused, or not answered at all."""

from __future__ import annotations

from collections.abc import Iterator

from tests.abuse.attack import GET, Attack, head, once, request

_BODY = b'{"texts": ["a"]}'
_TLS = bytes.fromhex("1603010200010001fc0303") + bytes(500)
_CHUNKED = "Transfer-Encoding: chunked"
_JSON = "Content-Type: application/json"


def _post(*lines: str, body: bytes = _BODY) -> bytes:
    return head("/embed", _JSON, *lines) + body


LENGTHS: dict[str, bytes] = {
    "negative": _post("Content-Length: -1"),
    "with a plus": _post("Content-Length: +16"),
    "in hex": _post("Content-Length: 0x10"),
    "with an underscore": _post("Content-Length: 1_6"),
    "in other digits": head("/embed", _JSON).replace(
        b"\r\n\r\n", b"\r\nContent-Length: \xd9\xa1\xd9\xa6\r\n\r\n"
    ),
    "a list of equal ones": _post("Content-Length: 16,16"),
    "a list of two": _post("Content-Length: 16, 5"),
    "two lines": _post("Content-Length: 16", "Content-Length: 5"),
    "empty": _post("Content-Length:"),
    "a word": _post("Content-Length: many"),
    "20 digits": _post("Content-Length: 99999999999999999999"),
    "5,000 digits": _post("Content-Length: " + "9" * 5_000),
    "5,000 digits, zeros and 16": _post("Content-Length: " + "16".zfill(5_000)),
    "18 digits": _post("Content-Length: 999999999999999999"),
    "20,000,001": _post("Content-Length: 20000001"),
    "with chunked": _post("Content-Length: 16", _CHUNKED, body=b"0\r\n\r\n"),
    "chunked with length": _post(_CHUNKED, "Content-Length: 16", body=b"0\r\n\r\n"),
}
ENCODINGS: dict[str, bytes] = {
    "gzip, chunked": _post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked, gzip": _post("Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "gzip and chunked in two lines": _post("Transfer-Encoding: gzip", _CHUNKED, body=b"0\r\n\r\n"),
    "chunked twice": _post(_CHUNKED, _CHUNKED, body=b"0\r\n\r\n"),
    "identity": _post("Transfer-Encoding: identity"),
    "unknown": _post("Transfer-Encoding: x"),
    "a tab before": _post("Transfer-Encoding:\tchunked", body=b"0\r\n\r\n"),
    "a space before the colon": _post("Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "vertical tab": _post("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "size of 17 digits": _post(_CHUNKED, body=b"f" * 17 + b"\r\n"),
    "size negative": _post(_CHUNKED, body=b"-1\r\na\r\n0\r\n\r\n"),
    "size 0x1": _post(_CHUNKED, body=b"0x1\r\na\r\n0\r\n\r\n"),
    "size empty": _post(_CHUNKED, body=b"\r\n\r\n"),
    "size a word": _post(_CHUNKED, body=b"zz\r\n"),
    "no end of a chunk": _post(_CHUNKED, body=b"1\r\nabc\r\n0\r\n\r\n"),
    "content gzip": _post("Content-Encoding: gzip", "Content-Length: 16"),
    "content br, gzip": _post("Content-Encoding: br, gzip", "Content-Length: 16"),
}
LINES: dict[str, bytes] = {
    "a header without a colon": _post("Nothing", "Content-Length: 16"),
    "a header without a name": _post(": a", "Content-Length: 16"),
    "NUL in a value": _post("A: \0", "Content-Length: 16"),
    "NUL in a name": _post("A\0: b", "Content-Length: 16"),
    "a line end alone": b"POST /embed HTTP/1.1\nHost: a\nContent-Length: 16\n\n" + _BODY,
    "a carriage return alone": b"POST /embed HTTP/1.1\rHost: a\r\r",
    "a folded header": b"POST /embed HTTP/1.1\r\nHost: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "Host of another": b"GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "Host that begins like ours": b"GET /livez HTTP/1.1\r\nHost: localhost.evil.example:8080\r\n\r\n",
    "two keys": head("/livez", "Authorization: Bearer a", "Authorization: Bearer b", method="GET"),
    "Host of control characters": b"GET /livez HTTP/1.1\r\nHost: \x01\x02\r\n\r\n",
    "two content types": _post("Content-Type: image/png", "Content-Length: 16"),
    "content type not ASCII": _post("Content-Type: \xe9", "Content-Length: 16"),
    "request id of 60 KB": _post("X-Request-Id: " + "a" * 60_000, "Content-Length: 16"),
    "request id of control characters": _post("X-Request-Id: \x1b[2J", "Content-Length: 16"),
    "accept of 60 KB": _post("Accept: " + "application/x-npy," * 3_300, "Content-Length: 16"),
    "expect 100-continue": _post("Expect: 100-continue", "Content-Length: 16"),
    "expect something": _post("Expect: miracles", "Content-Length: 16"),
    "upgrade to h2c": _post(
        "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA", "Content-Length: 16"
    ),
    "upgrade to websocket": _post(
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AA==", "Content-Length: 16"
    ),
    "upgrade of a GET": head(
        "/livez", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", method="GET"
    ),
}
TARGETS: dict[str, bytes] = {
    "not ASCII": b"GET /liv\xc3\xa9z HTTP/1.1\r\nHost: a\r\n\r\n",
    "not UTF-8": b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL": b"GET /livez\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "%00": head("/livez%00", method="GET"),
    "%ff": head("/%ff%fe", method="GET"),
    "half an escape": head("/%", method="GET"),
    "dots": head("/../../etc/passwd", method="GET"),
    "escaped dots": head("/..%2f..%2fetc/passwd", method="GET"),
    "absolute": head("http://a/livez", method="GET"),
    "absolute, another host": head("http://169.254.169.254/latest", method="GET"),
    "star": head("*", method="OPTIONS"),
    "empty": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "no slash": head("livez", method="GET"),
    "a fragment": head("/livez#a", method="GET"),
    "a space": b"GET /livez a HTTP/1.1\r\nHost: a\r\n\r\n",
    "a query of 60 KB": request("/embed?" + "a=b&" * 15_000, b"x", "image/png"),
    "a query of 20,000 labels": request("/classify?" + "labels=%61&" * 5_500, b"x", "image/png"),
    "an id of a model, 60 KB": request("/embed?model=" + "m" * 60_000, b"x", "image/png"),
    "two slashes": head("//livez", method="GET"),
    "a slash behind": head("/docs/", method="GET"),
    "a slash behind an endpoint": request("/embed/", _BODY),
    "a line end behind": head("/livez%0a", method="GET"),
    "a line end behind a stream": request("/bulk%0a", b"{}", "application/x-ndjson"),
    "a line end behind a key's path": request("/label-sets/x%0a", b"{}", method="PUT"),
    "a return and a line end behind": head("/embed%0d%0a", method="GET"),
    "an escape of an escape": head("/livez%250a", method="GET"),
    "a slash that is escaped": head("/%2flivez", method="GET"),
    "half a character": head("/livez%c3", method="GET"),
    "a surrogate": head("/template-sets/%ed%a0%80", method="GET"),
    "a semicolon": head("/livez;a=b", method="GET"),
}
METHODS: dict[str, bytes] = {
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "TRACE": head("/livez", method="TRACE"),
    "DELETE": head("/embed", method="DELETE"),
    "unknown": head("/embed", method="FOO"),
    "lower case": b"get /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    "of 60 KB": head("/livez", method="A" * 60_000),
    "empty": b" /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET with a body": head("/livez", "Content-Length: 16", method="GET") + _BODY,
    "PRI * HTTP/2.0": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "HTTP/0.9": b"GET /livez\r\n",
    "HTTP/1.0": b"GET /livez HTTP/1.0\r\n\r\n",
    "HTTP/1.0, chunked": b"POST /embed HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/2.0": b"GET /livez HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/1.9": b"GET /livez HTTP/1.9\r\nHost: a\r\n\r\n",
    "HTTP/9999.1": b"GET /livez HTTP/9999.1\r\nHost: a\r\n\r\n",
    "TLS": _TLS,
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "SMTP": b"EHLO a\r\nMAIL FROM:<a@b>\r\n",
    "proxy protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GET,
    "10 KB of NUL": bytes(10_000),
    "10 KB of line ends": b"\r\n" * 5_000 + GET,
}
# Harmless, or read leniently: these may be served. Their names are those of the tables above.
_SERVED = {
    "Lengths": ("a list of equal ones",),
    "Encodings": ("identity", "a tab before"),
    "Lines": (
        *("a line end alone", "Host of control characters", "two content types"),
        *(
            "content type not ASCII",
            "request id of 60 KB",
            "request id of control characters",
            "accept of 60 KB",
        ),
        *("expect 100-continue", "expect something"),
        *("upgrade to h2c", "upgrade to websocket", "upgrade of a GET"),
    ),
    "Targets": ("absolute", "a fragment", "two slashes"),
    "Methods": ("GET with a body", "HTTP/1.0", "HTTP/1.9", "HTTP/2.0", "10 KB of line ends"),
}
# No request at all, but the server cannot know before its end.
_SILENT = ("HTTP/0.9",)


def attacks() -> Iterator[Attack]:
    tables = {
        "Lengths": LENGTHS,
        "Encodings": ENCODINGS,
        "Lines": LINES,
        "Targets": TARGETS,
        "Methods": METHODS,
    }
    for table, rows in tables.items():
        for name, data in rows.items():
            served, silent = name in _SERVED[table], name in _SILENT
            yield Attack("syntax of HTTP", f"{table}: {name}", once(data), served, silent, patience=2)
    for path in ("/livez", "/embed", "/nothing"):
        data = head(path, method="HEAD")
        yield Attack("syntax of HTTP", f"HEAD {path}", once(data), legal=path == "/livez", bodiless=True)
