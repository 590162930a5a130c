"""Bad inputs by the dozen, all at one server: each a 4xx with a stable code, none a 5xx, and the next good
request is served. Images are in tests/clip, forms in test_form_parser.py, bytes in test_wire.py."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from loadtests.fake_backend import FakeBackend
from tests.support import DIM, Running, png, serving, write_toy_artifact

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = png(1)
B64 = base64.b64encode(GOOD).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    toy = await write_toy_artifact(tmp_path_factory.mktemp("bad") / "toy")
    async with serving(FakeBackend(DIM), toy) as running:
        yield running


JSONS: dict[str, bytes] = {
    "nothing": b"",
    "not json": b"{images:",
    "invalid utf-8": b'{"images": ["\xff\xfe"], "labels": ["a"]}',
    "a lone surrogate": b'{"images": ["' + B64.encode() + b'"], "labels": ["a\\ud800", "b"]}',
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 50_000,
    "nan": b'{"images": [], "labels": NaN}',
    "an absurd number": b'{"top_k": 1e999999, "labels": ["a"], "images": []}',
    "a list": b"[]",
    "a string": b'"images"',
    "null": b"null",
    "a BOM": b"\xef\xbb\xbf{}",
}

# Limits and types are in tests/application/test_requests.py and test_upload_json.py, the rest in tests/fronts.
FIELDS: dict[str, dict[str, Any]] = {
    "labels null": {"images": [B64], "labels": None},
    "too many bytes of labels": {"images": [B64], "labels": [f"{i:04}" + "é" * 300 for i in range(200)]},
    "a megabyte of templates": {"images": [B64], "labels": ["a"], "templates": ["{}" * 600_000]},
    "an attribute in a slot": {"images": [B64], "labels": ["a"], "templates": ["{0.__class__}"]},
    "base64 with a tail": {"images": [B64 + "===="], "labels": ["a"]},
    "a URL of the cloud's metadata": {"images": ["http://169.254.169.254/latest"], "labels": ["a"]},
    "top_k a string": {"images": [B64], "labels": ["a"], "top_k": "5"},
    "top_k 1.5": {"images": [B64], "labels": ["a"], "top_k": 1.5},
    "truncate a string": {"images": [B64], "labels": ["a"], "truncate": "yes"},
    "an unknown field": {"images": [B64], "labels": ["a"], "temperature": -1},
    "model with NUL": {"images": [B64], "labels": ["a"], "model": "toy\0"},
    "model of 10 KB": {"images": [B64], "labels": ["a"], "model": "t" * 10_000},
}


def is_refusal(status: int, body: bytes) -> None:
    assert 400 <= status < 500, body[:300]
    told = json.loads(body)
    assert told["code"] != "internal_error"
    assert len(told["detail"]) < 700
    assert told["status"] == status


@pytest.mark.parametrize("name", JSONS)
async def test_json_bodies(running: Running, name: str) -> None:
    for path in ("/classify", "/embed"):
        headers = {"content-type": "application/json"}
        answer = await running.client.post(path, content=JSONS[name], headers=headers)
        is_refusal(answer.status_code, answer.content)
    assert (await running.classify(GOOD)).status_code == 200


@pytest.mark.parametrize("name", FIELDS)
async def test_fields(running: Running, name: str) -> None:
    answer = await running.client.post("/classify", json=FIELDS[name])
    is_refusal(answer.status_code, answer.content)
    assert (await running.classify(GOOD)).status_code == 200


@pytest.mark.parametrize("filename", ["../../etc/passwd", "a\0b", "x" * 65_536, "", "photo.exe"])
async def test_file_names_are_not_believed(running: Running, filename: str) -> None:
    answer = await running.client.post("/embed", files={"image": (filename or "x", GOOD, "text/html")})
    if len(filename) < 65_536:
        assert answer.status_code == 200
        assert answer.json()["results"] == (await running.embed(GOOD)).json()["results"]
    else:
        assert answer.status_code in (200, 400)
        assert (await running.embed(GOOD)).status_code == 200


async def test_a_label_may_spell_a_special_token_or_a_format(running: Running) -> None:
    labels = ["<|endoftext|>", "<end>", "{0.__class__}", "%s%n", "'; DROP", "\u202eright"]
    answer = await running.classify(GOOD, labels=labels, truncate="true")
    assert answer.status_code == 200
    assert {entry["label"] for entry in answer.json()["results"][0]["labels"]} == set(labels)
