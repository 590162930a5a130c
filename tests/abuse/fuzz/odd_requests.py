"""Requests with odd numbers, shapes, names and paths, made of examples that are right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from tests.abuse.attack import part

Examples = dict[str, list[Any]]  # by media type: bodies that are right

_NUMBERS = (
    *[
        "0",
        "-0",
        "-1",
        "1e30",
        "-1e30",
        "1e300",
        "1e400",
        "-1e400",
        "1e-400",
        "NaN",
        "Infinity",
        "0.5",
        "1.0",
        "1_0",
        "0x10",
        "01",
    ],
    *(str(2**63), str(2**64), str(-(2**63) - 1), "9" * 400, "-" + "9" * 4_299, "9" * 4_301),
)
_STRINGS = (
    *[
        r"a",
        r"{}",
        r"\ud800",
        r"\udc00x",
        r"\u0000",
        r"\n",
        r"é",
        r"👨‍👩‍👧",
        r"%0a",
        r"imagenet-80",
        r"toy",
        r"base64",
        r"\u202e",
        r"http://a",
        r"a{}{}",
        r"x@1",
        r"x@1e30",
    ],
    *("", " ", "\x7f", "a" * 300, "m" * 9_000, "data:image/png;base64,AAAA", "x@" + "9" * 30),
)
_SHAPES = (
    "[" * 200 + "]" * 200,
    "[" * 2_000,
    *["null", "true", "[]", "{}", "[[]]", '{"a":1}', '["a","a"]', "[1e30]", "[null]"],
)
_BEHIND = [
    "%0a",
    "%0d%0a",
    "/",
    "//",
    "%00",
    "%",
    "%2f",
    ";a",
    "%ff",
    "%ed%a0%80",
    ".",
    "%20",
    "?",
    "/..",
    "%250a",
    "é",
]
_HEADERS = (
    *(f"X-Request-Id: {odd}" for odd in ("\x01", "a b", "ok-1")),
    *("Accept: application/x-npy", "Accept: */*;q=NaN", "traceparent: 00-0-0-0", "If-None-Match: W/"),
    *("X-Expect-Fingerprint: é", f"X-Expect-Fingerprint: {'f' * 9_000}", "Content-Encoding: gzip"),
    *("Authorization: ", "Authorization: Bearer clip_x", "Authorization: a\r\nAuthorization: b"),
)
_HOSTS = (*("localhost",) * 60, "evil.example", "[::1]:80", "\x01", "é", "", "a" * 300)
_TYPES = (
    *("application/json; charset=utf-16", "multipart/form-data; boundary=b"),
    *("text/plain", "", "image/png", "a" * 2_000, "é/\x01"),
)
_FIELDS = ("top_k", "model", "@\0")
# What is a number, by the path: a body with an unknown field is refused before it is looked at.
_NUMERIC = {
    "/classify": ("top_k", "temperature", "threshold"),
    "/label-sets/{name}": ("top_k", "temperature", "threshold"),
    "/v1/embeddings": ("dimensions",),
    "/v2/embed": ("output_dimension",),
    "/v1/multimodalembeddings": ("output_dimension",),
    "/rerank": ("top_n",),
}


def odd_request(random: Random, method: str, path: str, bodies: Examples) -> bytes:
    """As it goes over the wire. `path`: with names in braces."""
    numeric = _NUMERIC.get(path, ())
    if random.random() < 0.05:
        method = random.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"))
    for name in ("{name}", "{model}", "{version}"):
        path = path.replace(name, _escaped(random.choice(("toy", "plain", "x", random.choice(_STRINGS)))))
    if random.random() < 0.15:
        path += random.choice(_BEHIND)
    if random.random() < 0.25:
        path += "?" + "&".join(_field(random) for _ in range(random.choice((1, 1, 3))))
    content_type, examples = random.choice([*bodies.items()] or [("", [""])])
    sent = _body(random, content_type, random.choice(examples), numeric)
    content_type += "; boundary=b" * content_type.startswith("multipart/")
    if random.random() < 0.07:
        content_type = random.choice(_TYPES)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {random.choice(_HOSTS)}", "Connection: close"]
    lines += [f"Content-Type: {content_type}", f"Content-Length: {len(sent)}"]
    lines += random.choices(_HEADERS, k=random.choice((0, 0, 1, 2)))
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + sent


def _escaped(name: str) -> str:
    return "".join(f"%{byte:02x}" for byte in name.encode())


def _field(random: Random) -> str:
    names = ("top_k", "labels", "model", "temperature", "threshold", "truncate", "label_set", "x")
    return f"{random.choice(names)}={_escaped(random.choice((*_NUMBERS, *_STRINGS)))}"


def _body(random: Random, content_type: str, example: Any, numeric: Sequence[str]) -> bytes:
    if isinstance(example, str):
        lines = [line for line in example.splitlines() if line.startswith("{")]
        return b"\n".join(_json(random, json.loads(line)) for line in lines)
    if content_type.startswith("multipart/"):
        odd = random.choice([*example, *numeric, "text"])
        fields = example | {odd: random.choice((*_NUMBERS, *_STRINGS))}
        parts = [part(name, str(value).encode()) for name, value in fields.items()]
        return b"".join([*parts, b"--b--\r\n"])
    if numeric and random.random() < 0.5:
        body = json.dumps(example | {random.choice(numeric): "@0@"})
        return body.replace('"@0@"', random.choice(_NUMBERS)).encode()
    return _json(random, example) * random.choice((1,) * 30 + (2,))


def _json(random: Random, example: Any) -> bytes:
    """The example with a few values in it replaced."""
    body = json.loads(json.dumps(example))
    odd = [_value(random) for _ in range(random.choice((1, 1, 1, 2, 4)))]
    for number in range(len(odd)):
        _put(random, body, f"@{number}@")
    text = json.dumps(body)
    for number, value in enumerate(odd):
        text = text.replace(f'"@{number}@"', value)
    return text.encode()


def _value(random: Random) -> str:
    kind = random.random()
    if kind < 0.5:
        return random.choice(_NUMBERS)
    return f'"{random.choice(_STRINGS)}"' if kind < 0.75 else random.choice(_SHAPES)


def _put(random: Random, body: Any, mark: str) -> None:
    """In the place of some value at any depth, or of a field that was not given."""
    keys: Sequence[Any] = range(len(body)) if isinstance(body, list) else [*body, *_FIELDS]
    key = random.choice(keys)
    inside = body[key] if isinstance(body, list) or key in body else None
    if isinstance(inside, dict | list) and inside and random.random() < 0.7:
        _put(random, inside, mark)
    else:
        body[key] = mark
