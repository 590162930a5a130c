"""Texts and labels within all limits that cost far more to clean or to encode than their length."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence

from tests.abuse.attack import Attack, once, part, request, whole
from tests.abuse.attacks.files import small

_LONGEST = 8_192  # characters of a text


def _filled(word: str, size: int = _LONGEST) -> str:
    return (word * (size // len(word) + 1))[:size]


HOSTILE: dict[str, str] = {
    "&amp;": _filled("&amp;"),
    "&#x26;": _filled("&#x26;"),
    "&# and 8,000 digits": "&#" + _filled("9", _LONGEST - 2),
    "entities without end": _filled("&notin"),
    "carriage returns": _filled("\r\n"),
    "lines of entities": _filled("&amp;amp;\n"),
    "mojibake": _filled("\u00c3\u00a9"),
    "mojibake of mojibake": _filled("\u00c3\u0083\u00c2\u00a9"),
    "ligatures": _filled("\ufb03"),
    "one word": _filled("a"),
    "one word of two letters": _filled("ab"),
    "spaces": "a" + _filled(" ", _LONGEST - 2) + "b",
    "combining of many classes": "a" + _filled("\u0301\u0323\u0345\u1ab0\u05b0", _LONGEST - 1),
    "Hangul jamo": _filled("\u1112\u1161\u11ab"),
    "long decompositions": _filled("\ufdfa"),
    "emoji families": _filled("\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    "special tokens": _filled("[SEP][CLS]"),
}


def embedded(texts: Sequence[str]) -> bytes:
    return request("/embed", json.dumps({"texts": texts, "truncate": True}).encode())


def classified(labels: Sequence[str], templates: Sequence[str] = ()) -> bytes:
    """A small image, labels and templates as a form."""
    parts = [part("image", small("PNG"), "a"), part("truncate", b"true")]
    parts += [part("labels", label.encode()) for label in labels]
    parts += [part("templates", template.encode()) for template in templates]
    body = b"".join(parts) + b"--b--\r\n"
    return request("/classify", body, "multipart/form-data; boundary=b")


def _labels(count: int, chars: int, word: str = "\u00e9\u4e2d a") -> list[str]:
    return [(f"{n} " + word * chars)[:chars] for n in range(count)]


LABELS: dict[str, Callable[[], bytes]] = {
    "1,000 labels": lambda: classified(_labels(1_000, 30)),
    "128 labels of 512 bytes": lambda: classified(_labels(128, 512, "xy")),
    "1,000 labels x imagenet-80": lambda: classified(_labels(1_000, 20), ["imagenet-80"]),
    "1,000 labels x 100 templates": lambda: classified(
        _labels(1_000, 20), [f"a {{}} {n}." for n in range(100)]
    ),
    "80 labels x 100 templates of 512 characters": lambda: classified(
        _labels(80, 500, "ab "), [f"{{}} {n} {'w' * 500}"[:512] for n in range(100)]
    ),
    "1 label, template of 170 slots": lambda: classified(["x" * 500], ["{}" * 170]),
    "1 label, template of two slots": lambda: classified(["x" * 500], ["{} {}"]),
    "labels that clean to the same": lambda: classified(["a" + "\u200b" * n for n in range(300)]),
}


def attacks() -> Iterator[Attack]:
    for name, text in HOSTILE.items():
        yield Attack("texts", name, once(embedded([text])), legal=True)
        hundred = functools.partial(embedded, [text] * 100)  # a megabyte of JSON holds no more of them
        yield Attack("texts, 100 in a request", name, whole(hundred), legal=True, slow=True)
    surrogate = b'{"texts": ["' + b"\\ud800" * 1_000 + b'"]}'
    yield Attack("texts", "lone surrogates", once(request("/embed", surrogate)))
    for name, make in LABELS.items():
        many = "1,000" in name or "100 templates" in name
        requests = 8 if name.startswith("128") else 1
        yield Attack(
            "labels and templates", name, whole(make), True, requests=requests, slow=many, labels=many
        )
