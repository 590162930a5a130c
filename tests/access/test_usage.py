"""Who used how much: rows and bytes by key, in the log line of a request and in the metrics."""

from __future__ import annotations

import json
from pathlib import Path

from loadtests.fake_backend import FakeBackend
from tests.access.support import bearer, write_keys
from tests.rpc.client import client_of, request
from tests.support.logs import logged
from tests.support.service import DIM, eventually, serving


async def test_each_api_counts_rows_and_bytes_for_the_key_that_came(toy: Path, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys", camera={}, slow={"rows_per_second": 1})
    message = request("Embed", texts=["e", "f"])
    body = json.dumps({"texts": ["a", "b", "c"]}).encode()
    headers = bearer(keys["camera"]) | {"content-type": "application/json"}
    async with (
        serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys", grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        with logged() as log:
            for priority in ("none", "bulk"):
                await running.client.post("/embed", content=body, headers=headers | {"x-priority": priority})
            await client.stub.Embed(message, metadata=[("authorization", f"Bearer {keys['slow']}")])
            # A call of gRPC ends when its answer has been taken.
            await eventually(lambda: log.events.count("request") == 3)
        read = running.gateway.metrics.registry.get_sample_value
        used = {
            key: [read(f"clipserve_key_{unit}_total", {"key": key}) for unit in ("rows", "bytes")]
            for key in keys
        }
    size = message.ByteSize()
    assert used == {"camera": [6, 2 * len(body)], "slow": [2, size]}
    told = [(line["key"], line["rows"], line["bytes"]) for line in log.lines if line["event"] == "request"]
    assert sorted(told) == [("camera", 3, len(body))] * 2 + [("slow", 2, size)]
