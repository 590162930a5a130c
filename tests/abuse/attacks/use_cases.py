"""What only /similarity and /label-sets take: two sides, and definitions that are kept.

A definition that is right is no attack: it is kept, and built behind all requests. So all of these are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.abuse.attack import Attack, form, part, request, whole
from tests.abuse.attacks.files import SIDE, png_of_zeros, small


def _similarity(**fields: Any) -> bytes:
    return request("/similarity", json.dumps(fields).encode())


def _bombs(side: str, count: int) -> list[bytes]:
    return [part(side, png_of_zeros(SIDE, SIDE), "a")] * count


SIMILARITY: dict[str, Callable[[], bytes]] = {
    "128 texts beside 128": lambda: _similarity(
        texts=[f"a {n}" for n in range(128)], to_texts=[f"b {n}" for n in range(128)]
    ),
    "257 texts on both sides": lambda: _similarity(texts=["a"] * 128, to_texts=["b"] * 129),
    "a megabyte of empty texts": lambda: request(
        "/similarity", b'{"texts": ["a"], "to_texts": [' + b'"",' * 330_000 + b'""]}'
    ),
    "33 images on both sides": lambda: form(
        "/similarity", [part(side, small("PNG"), "a") for side in ["image"] * 16 + ["to_image"] * 17]
    ),
    "bombs on both sides": lambda: form("/similarity", _bombs("image", 16) + _bombs("to_image", 16)),
    "one side": lambda: _similarity(texts=["a"] * 256),
    "20 MB of to_images": lambda: request(
        "/similarity", b'{"texts": ["a"], "to_images": ["' + b"A" * 19_900_000 + b'"]}'
    ),
}


def _put(definition: Any, name: str = "x") -> bytes:
    return request(f"/label-sets/{name}", json.dumps(definition).encode(), method="PUT")


def _trained(weights: Any, **fields: Any) -> bytes:
    return _put({"labels": ["a"], "weights": weights, "expect_fingerprint": "", **fields})


LABEL_SETS: dict[str, Callable[[], bytes]] = {
    "1,001 labels": lambda: _put({"labels": [str(n) for n in range(1_001)]}),
    "a megabyte of labels": lambda: _put({"labels": ["a"] * 190_000}),
    "70,000 labels as objects": lambda: _put({"labels": [{"label": ""}] * 65_000}),
    "labels that are numbers": lambda: _put({"labels": [7] * 330_000}),
    "60,000 unknown fields": lambda: _put({f"key{n}": n for n in range(60_000)}),
    "a label of 60,000 fields": lambda: _put({"labels": [{f"key{n}": n for n in range(60_000)}]}),
    "50,000 prompts of one label": lambda: _put(
        {"labels": [{"label": "a", "prompts": [f"{n}" for n in range(50_000)]}]}
    ),
    "990 labels x 101 templates": lambda: _put(
        {"labels": [f"{n}" for n in range(990)], "templates": [f"{n} {{}}" for n in range(101)]}
    ),
    "prompts of too many tokens": lambda: _put(
        {"labels": [f"{n} " + "ab " * 100 for n in range(200)], "templates": ["imagenet-80"]}
    ),
    "4,000 examples": lambda: _put({"labels": [{"label": "a", "examples": ["AAAA"] * 4_000}]}),
    "5,000 examples": lambda: _put({"labels": [{"label": "a", "examples": ["AAAA"] * 5_000}]}),
    "an example of 20 MB": lambda: _put({"labels": [{"label": "a", "examples": ["A" * 19_900_000]}]}),
    "examples that are URLs": lambda: _put(
        {"labels": [{"label": "a", "examples": ["http://169.254.169.254/latest/meta-data"]}]}
    ),
    "20 MB of weights": lambda: _trained("A" * 19_900_000),
    "weights of one label less than nothing": lambda: _trained("===="),
    "100,000 biases": lambda: _trained("AAAA", biases=[0] * 100_000),
    "60,000 lists of weights": lambda: _trained([["A"]] * 60_000),
    "a name of 60 KB": lambda: _put({"labels": ["a"]}, "x" * 60_000),
    "a name with dots": lambda: _put({"labels": ["a"]}, "..%2fx"),
    "a name with a line end": lambda: _put({"labels": ["a"]}, "a%0Ab"),
    "a temperature of nothing": lambda: _put({"labels": ["a"], "temperature": 1e-300}),
    "a name of 60 KB to classify by": lambda: request(
        "/classify?label_set=" + "x" * 60_000, small("PNG"), "image/png"
    ),
    "5,000 names to classify by": lambda: request(
        "/classify?" + "label_set=x&" * 5_000, small("PNG"), "image/png"
    ),
}


def attacks() -> Iterator[Attack]:
    for name, make in SIMILARITY.items():
        most = name.startswith("128")  # texts on each side, as many as a request may have
        yield Attack("similarity", name, whole(make), most, requests=8 if most else 1, slow="20 MB" in name)
    for name, make in LABEL_SETS.items():
        yield Attack("label sets", name, whole(make), slow="20 MB" in name)
