"""Requests that are no HTTP, or HTTP that no honest client sends. Each is refused, or not answered at all."""

from __future__ import annotations

from collections.abc import Iterator

from tests.abuse.attack import GET, Attack, head, once, request

_BODY = b'{"texts": ["a"]}'
_CHUNKED = "Transfer-Encoding: chunked"
_JSON = "Content-Type: application/json"


def _post(*lines: str, body: bytes = _BODY) -> bytes:
    return head("/embed", _JSON, *lines) + body


LENGTHS: dict[str, bytes] = {
    "5,000 digits": _post("Content-Length: " + "9" * 5_000),
    "20,000,001": _post("Content-Length: 20000001"),
}
ENCODINGS: dict[str, bytes] = {
    "identity": _post("Transfer-Encoding: identity"),
    "a tab before": _post("Transfer-Encoding:\tchunked", body=b"0\r\n\r\n"),
    "content br, gzip": _post("Content-Encoding: br, gzip", "Content-Length: 16"),
}
LINES: dict[str, bytes] = {
    "Host of another": b"GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "Host that begins like ours": b"GET /livez HTTP/1.1\r\nHost: localhost.evil.example:8080\r\n\r\n",
    "two keys": head("/livez", "Authorization: Bearer a", "Authorization: Bearer b", method="GET"),
    "Host of control characters": b"GET /livez HTTP/1.1\r\nHost: \x01\x02\r\n\r\n",
    "two content types": _post("Content-Type: image/png", "Content-Length: 16"),
    "content type not ASCII": _post("Content-Type: \xe9", "Content-Length: 16"),
    "request id of 60 KB": _post("X-Request-Id: " + "a" * 60_000, "Content-Length: 16"),
    "request id of control characters": _post("X-Request-Id: \x1b[2J", "Content-Length: 16"),
    "accept of 60 KB": _post("Accept: " + "application/x-npy," * 3_300, "Content-Length: 16"),
    "expect something": _post("Expect: miracles", "Content-Length: 16"),
}
TARGETS: dict[str, bytes] = {
    "NUL": b"GET /livez\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "half an escape": head("/%", method="GET"),
    "dots": head("/../../etc/passwd", method="GET"),
    "absolute": head("http://a/livez", method="GET"),
    "absolute, another host": head("http://169.254.169.254/latest", method="GET"),
    "star": head("*", method="OPTIONS"),
    "no slash": head("livez", method="GET"),
    "a fragment": head("/livez#a", method="GET"),
    "a query of 60 KB": request("/embed?" + "a=b&" * 15_000, b"x", "image/png"),
    "a query of 20,000 labels": request("/classify?" + "labels=%61&" * 5_500, b"x", "image/png"),
    "an id of a model, 60 KB": request("/embed?model=" + "m" * 60_000, b"x", "image/png"),
    "two slashes": head("//livez", method="GET"),
    "a slash that is escaped": head("/%2flivez", method="GET"),
    "half a character": head("/livez%c3", method="GET"),
    "a surrogate": head("/template-sets/%ed%a0%80", method="GET"),
}
METHODS: dict[str, bytes] = {
    "of 60 KB": head("/livez", method="A" * 60_000),
    "GET with a body": head("/livez", "Content-Length: 16", method="GET") + _BODY,
    "HTTP/0.9": b"GET /livez\r\n",
    "HTTP/1.9": b"GET /livez HTTP/1.9\r\nHost: a\r\n\r\n",
    "proxy protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GET,
    "10 KB of line ends": b"\r\n" * 5_000 + GET,
}
# Harmless, or read leniently: these may be served. Their names are those of the tables above.
_SERVED = {
    "Encodings": ("identity", "a tab before"),
    "Lines": (
        *("Host of control characters", "two content types", "content type not ASCII", "request id of 60 KB"),
        *("request id of control characters", "accept of 60 KB", "expect something"),
    ),
    "Targets": ("absolute", "a fragment", "two slashes"),
    "Methods": ("GET with a body", "HTTP/1.9", "10 KB of line ends"),
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
            served, silent = name in _SERVED.get(table, ()), name in _SILENT
            yield Attack("syntax of HTTP", f"{table}: {name}", once(data), served, silent, patience=2)
    for path in ("/livez", "/embed", "/nothing"):
        data = head(path, method="HEAD")
        yield Attack("syntax of HTTP", f"HEAD {path}", once(data), legal=path == "/livez", bodiless=True)
