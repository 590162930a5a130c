"""JSON and forms that a parser may choke on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

from tests.abuse.attack import Attack, form, part, request, whole
from tests.abuse.attacks.files import small

MB = 1_000_000


def _texts(value: bytes, path: str = "/embed") -> bytes:
    return request(path, b'{"texts": ' + value + b"}")


def _image(text: str) -> bytes:
    return request("/embed", json.dumps({"images": [text]}).encode())


def _pixels() -> str:
    return base64.b64encode(small("PNG")).decode()


JSON: dict[str, Callable[[], bytes]] = {
    "depth 900,000": lambda: _texts(b"[" * 900_000),
    "depth 100,000, objects": lambda: _texts(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a megabyte of numbers": lambda: _texts(b"[" + b"0," * 490_000 + b"0]"),
    "20 MB of numbers": lambda: _texts(b"[" + b"0," * 9_900_000 + b"0]"),
    "20 MB of empty lists": lambda: _texts(b"[" + b"[]," * 6_600_000 + b"0]"),
    "a megabyte of empty lists": lambda: _texts(b"[" + b"[]," * 330_000 + b"0]"),
    "a megabyte of empty texts": lambda: _texts(b"[" + b'"",' * 330_000 + b'""]'),
    "20 MB of spaces": lambda: request("/embed", b" " * 19_900_000 + b'{"texts": ["a"]}'),
    "a megabyte of spaces": lambda: request("/embed", b" " * 990_000 + b'{"texts": ["a"]}'),
    "a number of a million digits": lambda: request("/classify", b'{"top_k": ' + b"9" * 990_000 + b"}"),
    "a fraction of a million digits": lambda: request("/classify", b'{"top_k": 0.' + b"9" * 990_000 + b"}"),
    "OpenAI: a megabyte of empty texts": lambda: request(
        "/v1/embeddings", b'{"input": [' + b'"",' * 330_000 + b'""]}'
    ),
    "OpenAI: 20 MB of token ids": lambda: request(
        "/v1/embeddings", b'{"input": [' + b"0," * 9_900_000 + b"0]}"
    ),
    "OpenAI: a megabyte of messages": lambda: request(
        "/v1/embeddings", b'{"messages": [' + b'{"content":""},' * 65_000 + b"{}]}"
    ),
    "OpenAI: 4,000 messages of 20 parts": lambda: request(
        "/v1/embeddings",
        b'{"messages": [' + (b'{"content":[' + b'{"text":""},' * 20 + b"{}]},") * 3_900 + b"{}]}",
    ),
    "Cohere: 4,000 inputs of 8 parts": lambda: request(
        "/v2/embed",
        b'{"inputs": [' + (b'{"content":[' + b'{"text":""},' * 7 + b'{"text":""}]},') * 4_000 + b"{}]}",
    ),
    "llama.cpp: a megabyte of prompts": lambda: request(
        "/embeddings", b'{"content": [' + b'{"prompt_string":""},' * 47_000 + b'""]}'
    ),
    "llama.cpp: 4,000 empty images": lambda: request(
        "/embeddings",
        b'{"content": [' + b'{"prompt_string":"","multimodal_data":["AAAA"]},' * 4_000 + b'""]}',
    ),
    "rerank: a megabyte of documents": lambda: request(
        "/rerank", b'{"query": "a", "documents": [' + b'"",' * 330_000 + b'""]}'
    ),
    "rerank: 4,000 documents within documents": lambda: request(
        "/rerank", b'{"query": "a", "documents": [' + b'{"content":[{"content":[]}]},' * 4_000 + b'""]}'
    ),
    "Voyage: 4,000 inputs of 8 parts": lambda: request(
        "/v1/multimodalembeddings",
        b'{"inputs": [' + (b'{"content":[' + b'{"text":""},' * 7 + b'{"text":""}]},') * 4_000 + b"{}]}",
    ),
    "Hugging Face: a megabyte of labels": lambda: request(
        "/models/demo", b'{"inputs": "", "parameters": {"candidate_labels": [' + b'"",' * 330_000 + b'""]}}'
    ),
    "90,000 equal keys": lambda: request("/embed", b"{" + b'"texts":[],' * 90_000 + b'"texts": 1}'),
    "60,000 unknown keys": lambda: request(
        "/embed", json.dumps({f"key{n}": n for n in range(60_000)}).encode()
    ),
    "a key of a megabyte": lambda: request("/embed", b'{"' + b"k" * 990_000 + b'": 1}'),
    "a megabyte of escapes": lambda: _texts(b'["' + b"\\u0061" * 165_000 + b'"]'),
    "40,000 texts": lambda: _texts(json.dumps(["a"] * 40_000).encode()),
    "5,000 images": lambda: request("/embed", json.dumps({"images": ["AAAA"] * 5_000}).encode()),
}

BASE64: dict[str, Callable[[], bytes]] = {
    "20 MB": lambda: _image("A" * 19_900_000),
    "20 MB, the last one wrong": lambda: _image("A" * 19_900_000 + "!"),
    "data URI of 900 KB of head": lambda: _image("data:" + "x" * 900_000 + ";base64,AAAA"),
}

_PLAIN = part("texts", b"a")


def _typed(content_type: str, body: bytes = _PLAIN + b"--b--\r\n") -> bytes:
    return request("/embed", body, content_type)


def _line(line: str) -> bytes:
    return form("/embed", [f"--b\r\n{line}\r\n\r\na\r\n".encode("latin-1")])


FORMS: dict[str, Callable[[], bytes]] = {
    **{
        f"charset {name}": lambda name=name: _typed(f"multipart/form-data; boundary=b; charset={name}")  # type: ignore[misc]
        for name in ("utf-16", "utf-7", "idna", "punycode", "rot13", "zip", "unicode_escape", "")
    },
    "a charset of 5,000 letters": lambda: _typed(f"multipart/form-data; boundary=b; charset={'x' * 5_000}"),
    "10,000 parts": lambda: form("/embed", [_PLAIN] * 10_000),
    "300,000 parts": lambda: form(
        "/embed", [b"--b\r\nContent-Disposition: form-data; name=t\r\n\r\n\r\n"] * 300_000
    ),
    "a part's header of 64 KB": lambda: _line(
        f'Content-Disposition: form-data; name="texts"; x="{"y" * 65_000}"'
    ),
    "a part's header of 10 MB": lambda: _line(
        f'Content-Disposition: form-data; name="texts"; x="{"y" * 10 * MB}"'
    ),
    "a part of 100,000 headers": lambda: _line(
        "\r\n".join(["Content-Disposition: form-data; name=t"] + ["a: b"] * 100_000)
    ),
    "100,000 options": lambda: _line("Content-Disposition: form-data; name=texts" + "; a=b" * 100_000),
    "a field name of a megabyte": lambda: form("/embed", [part("n" * MB, b"a")]),
    "a file name of a megabyte": lambda: form("/embed", [part("image", small("PNG"), "n" * MB)]),
    "1,000 continuations": lambda: _line(
        "Content-Disposition: form-data; name=t" + "".join(f"; filename*{n}*=%ff" for n in range(1_000))
    ),
    "a boundary of 100 KB": lambda: _typed("multipart/form-data; boundary=" + "b" * 60_000),
    "boundary-like data": lambda: form("/embed", [part("texts", b"\r\n--B\r\n-" * 90_000)]),
    "19 MB of almost boundaries": lambda: form("/embed", [part("image", b"\r\n--c" * 3_800_000, "a")]),
    "19 MB of carriage returns": lambda: form("/embed", [part("image", b"\r" * 19 * MB, "a")]),
    "a megabyte of line ends before": lambda: form("/embed", [b"\r\n" * 500_000, _PLAIN]),
    "a megabyte behind": lambda: form("/embed", [_PLAIN], end=b"--b--\r\n" + b"x" * MB),
    "a text of 10 MB": lambda: form("/embed", [part("texts", b"a" * 10 * MB)]),
    "4,000 empty images": lambda: form("/embed", [part("image", b"", "a")] * 4_000),
    "1,000 content types": lambda: _typed(", ".join(["multipart/form-data; boundary=b"] * 1_000)),
}


def attacks() -> Iterator[Attack]:
    for kind, makers in (("JSON", JSON), ("base64", BASE64), ("forms", FORMS)):
        for name, make in makers.items():
            large = any(word in name for word in ("20 MB", "19 MB", "10 MB", "300,000"))
            yield Attack(kind, name, whole(make), legal=True, slow=large)
