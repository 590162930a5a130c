"""`--url`: a running service, asked by a command."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from clipserve.access.key_file import add_key
from clipserve.client.errors import (
    BadAddress,
    FingerprintChanged,
    ItemFailed,
    OddAnswer,
    Refused,
    Unreachable,
)
from clipserve.client.remote import AsyncClient
from loadtests.fake_backend import FakeBackend
from tests.support import DIM, Running, png, serving, write_toy_artifact


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(FakeBackend(DIM), await write_toy_artifact(tmp_path / "toy")) as service:
        yield service


async def test_a_key_that_is_missing_is_asked_for_and_never_told(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "tests", ["use"])
    folder = await write_toy_artifact(tmp_path / "toy")
    async with serving(FakeBackend(DIM), folder, keys_file=tmp_path / "keys") as service:
        async with AsyncClient(service.url, key=key) as clip:
            await clip.embed_image(png())
        for wrong in (None, "wrong-secret", "wrong secret\n"):
            with pytest.raises((BadAddress, Refused), match="CLIPSERVE_KEY") as refused:
                async with AsyncClient(service.url, key=wrong) as clip:
                    await clip.served_by()
            assert "secret" not in str(refused.value)


async def test_a_service_that_limits_the_rate_of_a_key_gets_every_image(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "tests", ["use"])
    folder = await write_toy_artifact(tmp_path / "toy")
    limited: dict[str, Any] = {
        "keys_file": tmp_path / "keys",
        "rows_per_second": 10,
        "rate_window_seconds": 1,
    }
    async with serving(FakeBackend(DIM), folder, **limited) as service:
        async with AsyncClient(service.url, key=key) as clip:
            images = await asyncio.gather(*(clip.embed_image(png(seed)) for seed in range(25)))
        metrics = generate_latest(service.gateway.metrics.registry).decode()
    assert len({image.vector.tobytes() for image in images}) == 25
    assert re.search(r"^clipserve_refused_total\{.*rate_limited.*\} [1-9]", metrics, re.MULTILINE), metrics


@asynccontextmanager
async def answering(*answers: tuple[int, str, str]) -> AsyncIterator[tuple[str, list[float]]]:
    """A server with these answers (status, header, body), which then hangs up; and the times of requests."""
    left, times = list(answers), list[float]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        times.append(asyncio.get_running_loop().time())
        for line in asked.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
        if left:
            status, header, body = left.pop(0)
            head = f"HTTP/1.1 {status} X\r\n{header}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write((head + body).encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", times


def models() -> tuple[int, str, str]:
    return (
        200,
        "",
        json.dumps({"data": [{"id": "toy", "ready": True, "fingerprint": "toy@1", "embed_dim": 1}]}),
    )


def vector() -> tuple[int, str, str]:
    return 200, "", json.dumps({"fingerprint": "toy@1", "results": [{"embedding": "AACAPw=="}]})


async def test_the_remote_client_waits_as_long_as_it_is_asked_to() -> None:
    refusal = 429, "Retry-After: 1\r\n", '{"code": "overloaded", "detail": "busy."}'
    async with answering(refusal, vector()) as (url, times), AsyncClient(url, in_flight=1) as clip:
        assert (await clip.embed_text("a", truncate=False)).vector.tolist() == [1.0]
    assert times[1] - times[0] >= 1.0


async def test_a_connection_that_breaks_and_a_proxy_s_error_are_tried_again() -> None:
    gone = 503, "", "<html>no upstream</html>"
    broken = 200, "Transfer-Encoding: chunked\r\n", "zz"
    async with (
        answering(gone, broken, vector()) as (url, times),
        AsyncClient(url, in_flight=1) as clip,
    ):
        await clip.embed_text("a", truncate=False)
    assert len(times) == 3


async def test_an_error_of_the_encoders_is_the_item_s_and_doubtful() -> None:
    failed = 502, "", '{"code": "backend_failed", "detail": "onnxruntime failed."}'
    async with answering(failed) as (url, _), AsyncClient(url, in_flight=1) as clip:
        with pytest.raises(ItemFailed) as error:
            await clip.embed_text("a", truncate=False)
    assert error.value.doubtful


async def test_where_nothing_or_something_else_answers_it_is_said_soon() -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"http://127.0.0.1:9 cannot be asked") as nothing:
        async with AsyncClient("http://127.0.0.1:9") as clip:
            await clip.served_by()
    assert time.monotonic() - began < 30
    assert "refused" in nothing.value.detail
    async with answering((200, "", "<html>")) as (url, _):
        with pytest.raises(OddAnswer, match=r"not clipserve's: it is not JSON"):
            async with AsyncClient(url) as clip:
                await clip.served_by()
    for url in ("localhost:8080", "ftp://x", "http://user:secret@host"):
        with pytest.raises(BadAddress, match="the address must be") as refused:
            AsyncClient(url)
        assert "secret" not in str(refused.value)


async def test_a_server_that_changes_its_model_on_the_way_is_not_asked_any_more() -> None:
    changed = 409, "", '{"code": "wrong_fingerprint", "detail": "the fingerprint of toy is toy@2."}'
    async with answering(models(), changed) as (url, _), AsyncClient(url) as clip:
        await clip.pin()
        with pytest.raises(FingerprintChanged, match="toy@2"):
            await clip.embed_text("a", truncate=False)
