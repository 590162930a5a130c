"""A request for a label set that is being built for the first time waits for the build, on both fronts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.application.label_sets.making import not_waiting
from tests.fronts.asking import by_rest, by_rpc
from tests.fronts.cases import Case
from tests.rpc.client import client_of
from tests.rpc.label_sets import Slow
from tests.support import png, serving, write_toy_artifact

CLASSIFY = Case("by a set", "classify", {"images": [png(1)], "label_sets": ["pets"]})
PUT = {"labels": ["cat", "dog"]}


@pytest.mark.parametrize("front", ["rest", "rpc"])
async def test_the_first_request_for_a_set_waits_until_it_is_built(front: str, tmp_path: Path) -> None:
    toy, backend = await write_toy_artifact(tmp_path / "toy"), Slow()
    async with (
        serving(backend, toy, grpc_enabled=True, deadline_seconds=60) as running,
        client_of(running.rpc_address) as client,
    ):
        backend.gate.clear()
        with not_waiting(running.gateway.inference.label_sets):
            assert (await running.client.put("/label-sets/pets", json=PUT)).status_code == 202
        asked = by_rest(running, CLASSIFY, None) if front == "rest" else by_rpc(client, CLASSIFY, None)
        asking = asyncio.create_task(asked)
        await running.client.get("/livez")
        backend.gate.set()
        code, answer = await asking
        assert code is None, answer
        assert [each["name"] for each in answer["label_sets"]] == ["pets"]
