"""EmbedStream: answers in order, an item's own error, flow control, and what bounds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from clipserve.engine.backend import Embeddings, Lengths, TokenIds
from clipserve.telemetry.request import current
from clipserve.v1 import clip_pb2
from loadtests.fake_backend import FakeBackend
from tests.rest.gated import Gated
from tests.rpc.client import Client, Refused, client_of, plain, refused, request
from tests.rpc.raw import connected
from tests.support import CONTEXT, DIM, Running, eventually, png, serving


class Counting(Gated):
    """Counts texts, and notes whether what it works for is bulk."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0
        self.bulk: set[bool] = set()

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        self.texts += len(lengths)
        context = current()
        self.bulk.add(bool(context and context.bulk))
        return await super().encode_text(token_ids, lengths)


@pytest.fixture
def backend() -> Counting:
    return Counting()


def message(**fields: Any) -> Any:
    return request("EmbedStream", **fields)


async def asked(client: Client, messages: Sequence[Any]) -> list[Any]:
    return [answer async for answer in client.stub.EmbedStream(iter(messages), timeout=60)]


async def status_of(call: Any) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return refused(caught.value)


async def test_answers_come_in_order_each_as_embed_would_give_it(client: Client) -> None:
    items: list[dict[str, Any]] = [{"text": f"text {number}"[: CONTEXT - 2]} for number in range(100)]
    items[10] = {"image": png(1)}
    items[11] = {"image": png(2), "embedding_type": "int8", "model": "toy"}
    answers = await asked(client, [message(**item) for item in items])
    assert len(answers) == 100
    for number in (0, 10, 11, 99):
        item = dict(items[number])
        one: dict[str, Any] = (
            {"texts": [item.pop("text")]} if "text" in item else {"images": [item.pop("image")]}
        )
        expected = await client.call("Embed", **one, **item)
        found = plain(answers[number], item.get("embedding_type", "float32"))
        assert found["result"] == expected["results"][0]
        assert (found["model"], found["fingerprint"]) == (expected["model"], expected["fingerprint"])


async def test_an_item_has_its_own_error_and_spoils_no_other(client: Client) -> None:
    bad = [
        (message(image=b"x"), "unsupported_format"),
        (message(), "invalid_input"),
        (message(text="x" * CONTEXT), "text_too_long"),
        (message(text="a", model="none"), "unknown_model"),
        (message(text="a", expect_fingerprint="x"), "wrong_fingerprint"),
        (clip_pb2.EmbedStreamRequest(text="a", embedding_type=9), "invalid_input"),  # type: ignore[arg-type]
    ]
    answers = await asked(client, [message(text="a"), *(each for each, _ in bad), message(text="a")])
    assert [answer.result.error.code for answer in answers] == ["", *(code for _, code in bad), ""]
    assert not any(answer.result.error.HasField("index") for answer in answers)
    assert answers[0] == answers[-1]


async def test_bytes_that_are_no_message_are_the_error_of_their_item(client: Client) -> None:
    method = client.channel.stream_stream("/clipserve.v1.Clip/EmbedStream")
    answers = [clip_pb2.EmbedStreamResponse.FromString(each) async for each in method(iter([b"\xff", b""]))]
    assert [each.result.error.code for each in answers] == ["malformed_request", "invalid_input"]


async def test_a_client_that_ends_without_a_message_gets_none(client: Client) -> None:
    assert await asked(client, []) == []


async def test_answers_come_while_the_client_still_sends(client: Client) -> None:
    call = client.stub.EmbedStream(timeout=60)
    for number in range(3):
        await call.write(message(text=f"{number}"))
        assert (await call.read()).result.tokens == 3
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_rows_of_a_stream_give_way_to_those_of_others(toy: Path, backend: Counting) -> None:
    async with serving(backend, toy, grpc_enabled=True) as running, client_of(running.rpc_address) as client:
        backend.bulk.clear()
        await asked(client, [message(text="a")])
        assert backend.bulk == {True}


async def test_a_client_that_reads_nothing_stops_the_reading(toy: Path, backend: Counting) -> None:
    async with serving(backend, toy, grpc_enabled=True) as running:
        data = message(text="a" * 8, embedding_type="float32").SerializeToString()
        async with connected(running.rpc_address, window=0) as connection:
            connection.call(1, "EmbedStream")
            for _ in range(500):
                connection.message(1, data, end=False)
            await eventually(lambda: backend.texts >= 64)
            await asyncio.sleep(0.3)
            # The window, and the one answer that gRPC holds; the encoder has also seen the self-test's texts.
            assert backend.texts < 100


@pytest.mark.parametrize("limit", ["write_timeout_seconds", "body_timeout_seconds"])
async def test_a_client_that_takes_no_answers_is_sent_away(toy: Path, backend: Counting, limit: str) -> None:
    """In the time for one answer, or in that for all, which is eight times that of a body."""
    brief: dict[str, Any] = {limit: 0.3}
    async with (
        serving(backend, toy, grpc_enabled=True, **brief) as running,
        connected(running.rpc_address, window=0) as connection,
    ):
        connection.call(1, "EmbedStream")
        connection.message(1, message(text="a").SerializeToString(), end=False)
        registry = running.gateway.metrics.registry
        labels = {"endpoint": "grpc EmbedStream", "outcome": "client_gone"}
        await eventually(lambda: registry.get_sample_value("clipserve_requests_total", labels) == 1, 60)


async def test_a_client_that_leaves_ends_the_work_down_to_the_engine(toy: Path, backend: Counting) -> None:
    async with serving(backend, toy, grpc_enabled=True) as running, client_of(running.rpc_address) as client:
        backend.gate.clear()
        call = client.stub.EmbedStream()
        await call.write(message(text="a"))
        await eventually(lambda: backend.running == 1)
        call.cancel()
        await eventually(lambda: backend.running == 0, 60)  # usually 2 ms
        backend.gate.set()


@pytest.fixture
async def small(toy: Path, backend: Counting) -> AsyncIterator[tuple[Running, Client]]:
    """A service with small limits, and a client."""
    limits: dict[str, Any] = {
        "max_bulk_requests": 1,
        "max_bulk_lines": 3,
        "max_bulk_bytes": 100,
    }
    async with (
        serving(backend, toy, grpc_enabled=True, **limits) as running,
        client_of(running.rpc_address) as client,
    ):
        yield running, client


@pytest.mark.parametrize(
    ("texts", "code", "limit", "answers"),
    [(["a"] * 4, "too_many", 3, 3), (["a", "b" * 100], "body_too_large", 100, 1)],
)
async def test_a_call_may_have_so_many_messages_and_bytes(
    small: tuple[Running, Client], texts: list[str], code: str, limit: int, answers: int
) -> None:
    call = small[1].stub.EmbedStream(message(text=text) for text in texts)
    for _ in range(answers):
        assert await call.read() is not grpc.aio.EOF
    failed = await status_of(call)
    assert (failed.fields["code"], failed.fields["limit"]) == (code, limit)


async def test_a_call_that_sends_nothing_is_too_slow(toy: Path) -> None:
    async with (
        serving(FakeBackend(DIM), toy, grpc_enabled=True, body_timeout_seconds=0.3) as running,
        client_of(running.rpc_address) as client,
    ):
        failed = await status_of(client.stub.EmbedStream())
    assert failed.fields["code"] == "body_too_slow"


async def answered_until_refused(client: Client) -> Refused:
    """One message after the other, each when the one before has its answer."""
    call = client.stub.EmbedStream()
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        while not call.done():
            await call.write(message(text="a"))
            await call.read()
            await asyncio.sleep(0.1)
    return await status_of(call)


async def test_a_call_that_drips_messages_loses_its_place(toy: Path, backend: Counting) -> None:
    """It has 2.4 s for all its pauses. One alone may be longer, so that a busy machine does not make it silent."""
    slow: dict[str, Any] = {
        "body_timeout_seconds": 60,
        "most_pauses": 0.04,
        "min_body_bytes_per_second": 512_000,
    }
    async with (
        serving(backend, toy, grpc_enabled=True, **slow) as running,
        client_of(running.rpc_address) as client,
        asyncio.timeout(60),
    ):
        failed = await answered_until_refused(client)
    assert (failed.fields["code"], failed.fields["limit"]) == ("body_too_slow", 1_000)


async def test_a_call_that_waits_for_its_answers_may_send_nothing_meanwhile(
    toy: Path, backend: Counting
) -> None:
    brief: dict[str, Any] = {"body_timeout_seconds": 1.0, "most_pauses": 2}
    async with (
        serving(backend, toy, grpc_enabled=True, **brief) as running,
        client_of(running.rpc_address) as client,
    ):
        backend.gate.clear()
        call = client.stub.EmbedStream()
        await call.write(message(text="a"))
        await asyncio.sleep(3)  # longer than a pause, and than all together
        backend.gate.set()
        assert await call.read() is not grpc.aio.EOF
        await call.write(message(text="b"))
        assert await call.read() is not grpc.aio.EOF


async def test_only_so_many_streams_run_at_a_time_with_bulk_requests_of_rest(
    small: tuple[Running, Client], backend: Counting
) -> None:
    running, client = small
    backend.gate.clear()
    first = client.stub.EmbedStream()
    await first.write(message(text="a"))
    await first.done_writing()
    await eventually(lambda: backend.running == 1)
    failed = await status_of(client.stub.EmbedStream())
    assert (failed.fields["code"], failed.retry_after) == ("overloaded", 10)
    bulk: dict[str, Any] = {"json": {"texts": ["a"]}, "headers": {"x-priority": "bulk"}}
    assert (await running.client.post("/embed", **bulk)).status_code == 429
    backend.gate.set()
    assert [each async for each in first]
