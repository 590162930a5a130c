"""Keys and rates, as a client of REST meets them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.fake_backend import FakeBackend
from tests.access.support import bearer, one_window, write_keys
from tests.rest.documents import document_of, operations
from tests.rest.raw import ask
from tests.support.logs import logged
from tests.support.service import DIM, Running, serving

NAMES: dict[str, dict[str, Any]] = {
    "camera-kitchen": {},
    "manager": {"scopes": ["manage"]},
    "narrow": {"bytes_per_second": 10},
}


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    return write_keys(tmp_path / "keys", **NAMES)


@pytest.fixture
async def keyed(toy: Path, tmp_path: Path, keys: dict[str, str]) -> AsyncIterator[Running]:
    with one_window():
        async with serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys") as running:
            yield running


async def embed(running: Running, key: str, count: int = 1) -> httpx.Response:
    return await running.client.post("/embed", json={"texts": ["a"] * count}, headers=bearer(key))


# Who may ask.


@pytest.mark.parametrize("path", ["/nowhere", "/docs.txt", "/livez/"])
async def test_without_a_key_each_path_gives_the_same_refusal(keyed: Running, path: str) -> None:
    for sent in ({}, {"authorization": "Bearer clip_x"}, {"authorization": "Basic eA=="}):
        refused = await keyed.client.post(path, content=b"x", headers=sent)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated"), sent
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["connection"] == "close"


async def test_every_endpoint_but_a_probe_needs_a_key_and_the_document_says_so(keyed: Running) -> None:
    open_to_all = []
    for name, operation in operations(await document_of(keyed)):
        method, path = name.format(name="pets", model="toy").split()
        if (await keyed.client.request(method, path)).status_code != 401:
            open_to_all.append(path)
        assert (path in open_to_all) == ("security" in operation), name
    assert open_to_all == ["/livez", "/readyz", "/ping", "/.well-known/live", "/.well-known/ready"]


@pytest.mark.parametrize(
    "path",
    ["/livez", "/docs", "/docs/start.js", "/openapi.json", "/", "/page/main.js"],
)
async def test_probes_and_pages_need_no_key(keyed: Running, path: str) -> None:
    for sent in ({}, {"authorization": "Bearer clip_x"}):
        assert (await keyed.client.get(path, headers=sent)).is_success
        assert (await keyed.client.head(path, headers=sent)).is_success


@pytest.mark.parametrize(
    ("line", "name", "code"),
    [
        (b"PUT /label-sets/pets", "camera-kitchen", "permission_denied"),
        (b"PUT /label%2Dsets/pets", "camera-kitchen", "permission_denied"),
        (b"PUT /label-sets%2Fpets", "camera-kitchen", "permission_denied"),
        (b"POST /embed", None, "unauthenticated"),
    ],
)
async def test_a_body_of_20_mb_is_refused_before_a_byte_of_it_is_sent(
    keyed: Running, keys: dict[str, str], line: bytes, name: str | None, code: str
) -> None:
    key = keys[name].encode() if name else b"clip_wrong"
    head = b"%b HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\nAuthorization: Bearer %b\r\n\r\n"
    answer = await ask(keyed, head % (line, key))
    assert (answer.code, answer.headers["connection"]) == (code, "close")


# What is told of a key.


async def test_the_name_of_a_key_is_in_the_log_and_in_metrics_and_in_no_answer(
    keyed: Running, keys: dict[str, str]
) -> None:
    name = "camera-kitchen"
    with logged() as log:
        answers = [
            await embed(keyed, keys[name]),
            await keyed.client.post("/embed", json={"texts": []}, headers=bearer(keys[name])),
            await keyed.client.get("/nowhere", headers=bearer(keys[name])),
            await embed(keyed, keys["manager"]),
            await embed(keyed, keys[name] + "x"),
        ]
    requests = [line for line in log.lines if line["event"] == "request"]
    assert [line.get("key") for line in requests] == [name, name, name, "manager", None]
    written = log.getvalue()
    assert written.count(name) == 3
    assert "clip_" not in written
    assert not any(key.removeprefix("clip_") in written for key in keys.values())
    for answer in answers:
        told = answer.text + str(answer.headers)
        assert not any(word in told for word in (name, "manager", "clip_"))
    counted = str(list(keyed.gateway.metrics.registry.collect()))
    assert name in counted
    assert "clip_" not in counted


# How much.


@pytest.mark.parametrize("chunked", [False, True])
async def test_bytes_are_charged_whether_they_are_announced_or_not(
    keyed: Running, keys: dict[str, str], chunked: bool
) -> None:
    async def post(size: int) -> httpx.Response:
        async def parts() -> AsyncIterator[bytes]:
            yield bytes(size)

        content: Any = parts() if chunked else bytes(size)
        headers = bearer(keys["narrow"]) | {"content-type": "application/json"}
        return await keyed.client.post("/embed", content=content, headers=headers)

    assert (await post(90)).status_code == 400  # that is no JSON, and is charged
    refused = await post(90)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert "10 bytes a second" in refused.json()["detail"]
    never = await post(101)
    assert (never.status_code, never.json()["code"]) == (413, "body_too_large")
    assert (never.json()["limit"], never.json()["actual"]) == (100, 101)


@pytest.mark.parametrize("rates", [{"rows_per_second": 20}, {"bytes_per_second": 500}], ids=str)
async def test_bulk_waits_for_its_rates_instead_of_being_refused(
    toy: Path, tmp_path: Path, keys: dict[str, str], rates: dict[str, Any]
) -> None:
    body = {"texts": ["a"] * 20}  # 120 bytes and more
    headers = bearer(keys["camera-kitchen"])
    settings: dict[str, Any] = {"keys_file": tmp_path / "keys", "rate_window_seconds": 1}
    async with serving(FakeBackend(DIM), toy, **settings, **rates) as running:
        answers = [
            await running.client.post("/embed", json=body, headers=headers | {"x-priority": priority})
            for priority in ["bulk"] * 8 + ["none"] * 8
        ]
    assert {answer.status_code for answer in answers[:8]} == {200}
    assert 429 in {answer.status_code for answer in answers[8:]}
