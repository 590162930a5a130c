"""Who used how much: rows and bytes by key, in the log line of a request and in the metrics."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.access.support import bearer, write_keys
from tests.logs import logged
from tests.rest.raw import connected
from tests.rpc.client import client_of, request
from tests.support import DIM, Running, eventually, serving, write_toy_artifact


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    return write_keys(
        tmp_path / "keys", camera={}, slow={"rows_per_second": 1}, editor={"scopes": ["manage"]}
    )


@pytest.fixture
async def running(tmp_path: Path, keys: dict[str, str]) -> AsyncIterator[Running]:
    toy = await write_toy_artifact(tmp_path / "toy")
    async with serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys", grpc_enabled=True) as running:
        yield running


JSON = {"content-type": "application/json"}


def json_of(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def used(metrics: Metrics) -> dict[str, tuple[float, float]]:
    """Key's name -> rows, bytes."""
    found: dict[str, dict[str, float]] = {"rows": {}, "bytes": {}}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name in ("clipserve_key_rows_total", "clipserve_key_bytes_total"):
                found[sample.name.split("_")[2]][sample.labels["key"]] = sample.value
    return {key: (rows, found["bytes"][key]) for key, rows in found["rows"].items()}


async def test_each_api_counts_rows_and_bytes_for_the_key_that_came(
    running: Running, keys: dict[str, str]
) -> None:
    sent = json_of(texts=["a", "b", "c"])
    bulk = json_of(texts=["d"] * 5)
    message = request("Embed", texts=["e", "f"])
    with logged() as log:
        await running.client.post("/embed", content=sent, headers=bearer(keys["camera"]) | JSON)
        headers = bearer(keys["camera"]) | JSON | {"x-priority": "bulk"}
        await running.client.post("/embed", content=bulk, headers=headers)
        async with client_of(running.rpc_address) as client:
            await client.stub.Embed(message, metadata=[("authorization", f"Bearer {keys['slow']}")])
        # A call of gRPC ends when its answer has been taken.
        await eventually(lambda: log.events.count("request") == 3)
    assert used(running.gateway.metrics) == {
        "camera": (8, len(sent) + len(bulk)),
        "slow": (2, message.ByteSize()),
    }
    told = [(line["key"], line["rows"], line["bytes"]) for line in log.lines if line["event"] == "request"]
    assert sorted(told) == [
        ("camera", 3, len(sent)),
        ("camera", 5, len(bulk)),
        ("slow", 2, message.ByteSize()),
    ]


async def test_a_refused_request_has_used_no_rows_and_an_announced_body_nothing(
    running: Running, keys: dict[str, str]
) -> None:
    head = f"POST /embed HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {keys['camera']}\r\n"
    async with connected(running) as raw:
        await raw.send(f"{head}content-length: 1000000000000\r\n\r\n".encode())
        assert (await raw.answer()).status == 413
    assert used(running.gateway.metrics) == {}
    sent = json_of(texts=["a"] * 11)
    refused = await running.client.post("/embed", content=sent, headers=bearer(keys["slow"]) | JSON)
    assert refused.status_code == 413
    assert used(running.gateway.metrics) == {"slow": (0, len(sent))}
