"""Label sets put over gRPC, for the tests of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtests.fake_backend import FakeBackend
from tests.rpc.client import Client, Refused, client_of
from tests.support import DIM, serving

PETS: list[dict[str, Any]] = [{"label": "cat"}, {"label": "dog"}]


@asynccontextmanager
async def client_with(toy: Path, **settings: Any) -> AsyncIterator[Client]:
    async with (
        serving(FakeBackend(DIM), toy, grpc_enabled=True, **settings) as running,
        client_of(running.rpc_address) as client,
    ):
        yield client


async def put(client: Client, name: str = "pets", /, **fields: Any) -> dict[str, Any]:
    answer = await client.call("PutLabelSet", name=name, **{"labels": PETS} | fields)
    kept: dict[str, Any] = answer["label_set"]
    return kept


async def refusal(client: Client, method: str, **fields: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await client.call(method, **fields)
    return caught.value


async def names(client: Client) -> list[str]:
    return [each["name"] for each in (await client.call("ListLabelSets"))["label_sets"]]
