"""Bodies, texts and names that a parser or a tokenizer may choke on, and requests that are no HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from tests.abuse import hostile_host
from tests.abuse.attack import Attack, form, head, part, request
from tests.abuse.files import png_of_zeros, small

MB = 1_000_000
_SIDE = 2_500  # pixels


def _texts(value: bytes) -> bytes:
    return request("/embed", b'{"texts": ' + value + b"}")


def _hundred(word: str) -> bytes:
    """A hundred texts of this word again and again, as many as a megabyte of JSON holds."""
    text = (word * 8_192)[:8_192]
    return request("/embed", json.dumps({"texts": [text] * 100, "truncate": True}).encode())


def classified(labels: Sequence[str], templates: Sequence[str], count: int = 1) -> bytes:
    """Small images, labels and templates as a form."""
    parts = [part("image", small("PNG"), "a")] * count + [part("truncate", b"true")]
    parts += [part("labels", label.encode()) for label in labels]
    return form("/classify", parts + [part("templates", template.encode()) for template in templates])


def _line(line: str) -> bytes:
    return form("/embed", [f"--b\r\n{line}\r\n\r\na\r\n".encode("latin-1")])


def _large_set() -> bytes:
    definition = {"labels": [f"{n}" for n in range(990)], "templates": [f"{n} {{}}" for n in range(101)]}
    return request("/label-sets/x", json.dumps(definition).encode(), method="PUT")


def _both_sides() -> bytes:
    bomb = png_of_zeros(_SIDE, _SIDE)
    return form("/similarity", [part(side, bomb, "a") for side in ["image"] * 16 + ["to_image"] * 16])


def _url(path: str) -> Callable[[], bytes]:
    return lambda: request("/embed", json.dumps({"images": [hostile_host.url() + path] * 32}).encode())


_MESSAGE = b'{"content":[' + b'{"text":""},' * 20 + b"{}]},"
# Refused, all of them.
REFUSED: dict[str, Callable[[], bytes]] = {
    "JSON of depth 900,000": lambda: _texts(b"[" * 900_000),
    "JSON, 20 MB of numbers": lambda: _texts(b"[" + b"0," * 9_900_000 + b"0]"),
    "JSON, a number of a million digits": lambda: request("/classify", b'{"top_k": ' + b"9" * 990_000 + b"}"),
    "OpenAI, 4,000 messages of 20 parts": lambda: request(
        "/v1/embeddings", b'{"messages": [' + _MESSAGE * 3_900 + b"{}]}"
    ),
    "base64, 20 MB": lambda: request("/embed", b'{"images": ["' + b"A" * 19_900_000 + b'"]}'),
    "a form of 300,000 parts": lambda: form(
        "/embed", [b"--b\r\nContent-Disposition: form-data; name=t\r\n\r\n\r\n"] * 300_000
    ),
    "a form of almost boundaries": lambda: form("/embed", [part("image", b"\r\n--c" * 3_800_000, "a")]),
    "a part's header of 10 MB": lambda: _line(
        f'Content-Disposition: form-data; name="texts"; x="{"y" * 10 * MB}"'
    ),
    "a label set of 990 labels x 101 templates": _large_set,
    "a query of 20,000 labels": lambda: request("/classify?" + "labels=%61&" * 5_500, b"x", "image/png"),
    "a method of 60 KB": lambda: head("/livez", method="A" * 60_000),
}
# Within all limits, and as dear as such may be.
LEGAL: dict[str, tuple[Callable[[], bytes], float]] = {
    "100 texts of mojibake": (lambda: _hundred("\u00c3\u00a9"), 40.0),
    "1,000 labels x imagenet-80": (
        lambda: classified([f"thing {n}" for n in range(1_000)], ["imagenet-80"]),
        80.0,
    ),
    "bombs on both sides": (_both_sides, 32.0),
    "32 URLs that are silent": (_url("/silent"), 4.0),
    "32 URLs in chunks of two bytes": (_url("/chunks"), 8.0),
    "32 URLs of headers without end": (_url("/headers"), 8.0),
}


def attacks() -> Iterator[Attack]:
    for name, make in REFUSED.items():
        yield Attack(name, lambda make=make: [make()])  # type: ignore[misc]
    for name, (make, photos) in LEGAL.items():
        yield Attack(name, lambda make=make: [make()], legal=True, photos=photos)  # type: ignore[misc]
