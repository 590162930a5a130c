"""EmbedStream: answers in order, an item's own error, flow control, and what bounds it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from clipserve.engine.backend import Embeddings, Lengths, TokenIds
from clipserve.telemetry.request import is_bulk
from clipserve.v1 import clip_pb2
from tests.rest.gated import Gated
from tests.rpc import raw
from tests.rpc.answering import status_of
from tests.rpc.client import Client, Refused, client_of, plain, request
from tests.support.service import CONTEXT, eventually, png, serving


class Counting(Gated):
    """Counts texts, and notes whether what it works for is bulk."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0
        self.bulk: set[bool] = set()

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        self.texts += len(lengths)
        self.bulk.add(is_bulk())
        return await super().encode_text(token_ids, lengths)


@pytest.fixture
def backend() -> Counting:
    return Counting()


def message(**fields: Any) -> Any:
    return request("EmbedStream", **fields)


async def asked(client: Client, messages: Sequence[Any]) -> list[Any]:
    return [answer async for answer in client.stub.EmbedStream(iter(messages), timeout=60)]


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


async def test_a_message_that_is_no_item_gives_its_bytes_back(toy: Path, backend: Counting) -> None:
    sizes: dict[str, Any] = {"max_body_bytes": 50_000, "max_in_flight_bytes": 100_000}
    async with (
        serving(backend, toy, grpc_enabled=True, max_in_flight_bytes_per_address=50_000, **sizes) as running,
        client_of(running.rpc_address) as client,
    ):
        bad = clip_pb2.EmbedStreamRequest(image=bytes(20_000), embedding_type=9)  # type: ignore[arg-type]
        answers = await asked(client, [*[bad] * 5, message(text="a")])  # else the third would wait for ever
        assert [answer.result.error.code for answer in answers] == [*["invalid_input"] * 5, ""]


async def test_a_client_that_reads_nothing_stops_the_reading(toy: Path, backend: Counting) -> None:
    async with serving(backend, toy, grpc_enabled=True) as running:
        data = message(text="a" * 8, embedding_type="float32").SerializeToString()
        known = backend.texts  # the self-test's
        async with raw.connected(running.rpc_address, window=0) as connection:
            connection.send(raw.call(1, "EmbedStream"), *[raw.message(1, data, end=False)] * 500)
            await eventually(lambda: backend.texts - known >= 16)
            await asyncio.sleep(0.3)
            assert backend.texts - known <= 17  # and the one answer that gRPC holds


async def test_a_call_that_waits_for_its_answers_may_send_nothing_meanwhile(
    toy: Path, backend: Counting
) -> None:
    async with (
        serving(backend, toy, grpc_enabled=True, body_timeout_seconds=1.0) as running,
        client_of(running.rpc_address) as client,
    ):
        backend.gate.clear()
        call = client.stub.EmbedStream()
        await call.write(message(text="a"))
        await asyncio.sleep(3)  # longer than a pause may be
        backend.gate.set()
        assert await call.read() is not grpc.aio.EOF
        await call.write(message(text="b"))
        assert await call.read() is not grpc.aio.EOF


async def test_only_so_many_bulk_requests_run_at_a_time_a_stream_or_a_call_that_says_so(
    toy: Path, backend: Counting
) -> None:
    async with (
        serving(backend, toy, grpc_enabled=True, max_bulk_requests=1) as running,
        client_of(running.rpc_address) as client,
    ):
        backend.gate.clear()
        first = client.stub.EmbedStream()
        await first.write(message(text="a"))
        await first.done_writing()
        await eventually(lambda: backend.running == 1)
        failed = await status_of(client.stub.EmbedStream().read())
        assert (failed.fields["code"], failed.retry_after) == ("overloaded", 10)
        for _ in range(20):  # grpc.aio took the end of most calls that it wrote to for INTERNAL
            failed = await status_of(client.stub.EmbedStream(iter([message(text="a")] * 200)).read())
            assert (failed.fields.get("code"), failed.retry_after) == ("overloaded", 10)
        with pytest.raises(Refused) as caught:
            await client.call("Embed", texts=["a"], metadata=[("x-priority", "bulk")])
        assert caught.value.fields["code"] == "overloaded"
        backend.gate.set()
        assert [each async for each in first]


async def test_a_stream_and_an_embed_of_the_metadata_x_priority_give_way_and_no_other_method_does(
    toy: Path, backend: Counting
) -> None:
    async with serving(backend, toy, grpc_enabled=True) as running, client_of(running.rpc_address) as client:
        backend.bulk.clear()
        await asked(client, [message(text="a")])
        assert backend.bulk == {True}
        for method, priority, bulk in (("Embed", "bulk", True), ("Embed", "high", False)):
            backend.bulk.clear()
            await client.call(method, texts=["a"], metadata=[("x-priority", priority)])
            assert backend.bulk == {bulk}
        backend.bulk.clear()
        fields: dict[str, Any] = {"images": [png()], "labels": ["cat"]}
        await client.call("Classify", **fields, metadata=[("x-priority", "bulk")])
        assert backend.bulk == {False}
