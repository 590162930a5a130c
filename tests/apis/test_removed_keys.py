"""A key that is removed ends the streams that it has begun, on both APIs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from loadtests.fake_backend import FakeBackend
from tests.access.support import bearer, one_window, write_keys
from tests.rpc.client import client_of, refused, request
from tests.support.service import DIM, Running, serving

ITEMS = 60  # three times what there is of the rate, and no more than are under way at a time


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    return write_keys(tmp_path / "keys", camera={"rows_per_second": 20})


@pytest.fixture
async def running(toy: Path, tmp_path: Path, keys: dict[str, str]) -> AsyncIterator[Running]:
    settings: dict[str, Any] = {
        "keys_file": tmp_path / "keys",
        "rate_window_seconds": 1,
        "grpc_enabled": True,
    }
    with one_window():
        async with serving(FakeBackend(DIM), toy, **settings) as running:
            yield running


async def embed_stream(running: Running, key: str, first_came: Callable[[], None]) -> tuple[int, str]:
    answered = 0
    async with client_of(running.rpc_address) as client:
        call = client.stub.EmbedStream(metadata=[("authorization", f"Bearer {key}")], timeout=100)
        for _ in range(ITEMS):
            await call.write(request("EmbedStream", text="a"))
        await call.done_writing()
        try:
            async for _ in call:
                answered += 1
                if answered == 1:
                    first_came()
        except grpc.aio.AioRpcError as error:
            return answered, str(refused(error).fields["code"])
    return answered, ""


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param(None, "unauthenticated", id="removed"),
        pytest.param({"sha256": "0" * 64}, "unauthenticated", id="replaced under its name"),
        pytest.param({"scopes": ("manage",)}, "permission_denied", id="for something else now"),
    ],
)
async def test_a_stream_ends_when_its_key_does(
    running: Running, keys: dict[str, str], changes: dict[str, Any] | None, code: str
) -> None:
    known = running.gateway.keys
    assert known is not None
    key = known.find(f"Bearer {keys['camera']}")
    assert key is not None
    left = [key.model_copy(update=changes)] if changes else []
    async with asyncio.timeout(100):
        answered, said = await embed_stream(running, keys["camera"], lambda: known.replace(left))
    assert said == code
    assert 1 <= answered < ITEMS


async def test_a_request_under_way_ends_with_its_key_too(running: Running, keys: dict[str, str]) -> None:
    known = running.gateway.keys
    assert known is not None
    headers = bearer(keys["camera"]) | {"content-type": "application/json"}

    async def body() -> AsyncIterator[bytes]:
        yield b'{"texts": '
        known.replace([])
        yield b'["a"]}'

    answer = await running.client.post("/embed", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
