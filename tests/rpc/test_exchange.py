"""One call and its answer: the gate, ids, times, the deadline, the client's departure, and what is counted."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.access.gate import Gate, OpenGate, Scope
from service.application.byte_budget import ByteBudget
from service.engine.backend import Embeddings, Lengths, TokenIds
from service.engine.fake import FakeBackend
from service.errors import RateLimited, Unauthenticated
from service.rpc.call import TakingLimits, Work
from service.rpc.clipserve.v1 import clip_pb2
from service.rpc.dropping import know_tasks
from service.rpc.exchange import CallLimits, Exchange
from service.rpc.reading import ReadLimits, Reads
from service.rpc.server import SERVICE
from service.telemetry import log
from service.telemetry.metrics import Metrics
from service.telemetry.request import RequestContext, current, remaining
from tests.rpc.client import Client, Refused, client_of, refused
from tests.rpc.raw import connected
from tests.support import DIM, Running, eventually, png, serving

LIMITS = {"grpc_max_calls": 100, "deadline_seconds": 20.0}


class Answering:
    """The exchange alone, in front of one method, `Embed`, and on a port."""

    def __init__(self, work: Work, gate: Gate | None = None, **limits: Any) -> None:
        self.metrics = Metrics()
        self.budget = ByteBudget(10_000_000, 10_000_000)
        limits = {**LIMITS, **limits}
        taking = TakingLimits(limits.pop("write_timeout_seconds", 20.0), 65_536)
        reads = Reads(ReadLimits(4, limits.pop("read_seconds", 20.0)))
        self.exchange = Exchange(
            gate or OpenGate(), reads, self.budget, CallLimits(**limits), taking, self.metrics
        )
        self.server = grpc.aio.server()
        handlers = {"Embed": self.exchange.unary("Embed", work)}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def counted(self) -> dict[str, float]:
        """Calls by outcome."""
        families = self.metrics.registry.collect()
        samples = [each for family in families for each in family.samples]
        return {
            each.labels["outcome"]: each.value for each in samples if each.name == "clipserve_requests_total"
        }


@asynccontextmanager
async def answering(work: Work, gate: Gate | None = None, **limits: Any) -> AsyncIterator[Answering]:
    know_tasks(asyncio.get_running_loop())
    running = Answering(work, gate, **limits)
    await running.server.start()
    try:
        yield running
    finally:
        await running.server.stop(None)


async def echo(unread: list[bytes]) -> bytes:
    return unread.pop()


class Hanging:
    """Work that does not end by itself."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, unread: list[bytes]) -> bytes:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return b""


class Hung(FakeBackend):
    """A backend whose text encoder hangs once it is told to."""

    hangs = False

    def __init__(self) -> None:
        super().__init__(DIM)
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        if self.hangs:
            self.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        return await super().encode_text(token_ids, lengths)


def raw(client: Client, **options: Any) -> Any:
    """Embed, of bytes; a stream, whose client says itself when it ends."""
    return client.channel.stream_unary(f"/{SERVICE}/Embed")(**options)


async def status_of(call: Any) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refused(caught.value)


async def test_the_answer_has_the_caller_s_id_and_the_times_of_the_stages(client: Client) -> None:
    await client.call("Embed", images=[png()], metadata=[("x-request-id", "abc-1")])
    assert client.metadata["x-request-id"] == "abc-1"
    assert client.metadata["server-timing"].startswith("decode;dur=")
    await client.call("Embed", texts=["a"], metadata=[("x-request-id", "no word")])
    assert len(client.metadata["x-request-id"]) == 32


async def test_a_wrong_key_is_refused_before_the_message_is_read() -> None:
    class Closed(OpenGate):
        async def enter(self, authorization: str | None, scope: Scope) -> None:
            assert (authorization, scope) == ("Bearer no", "use")
            raise Unauthenticated("there is no such key.")

    async with answering(echo, Closed()) as running, client_of(running.address) as client:
        call = raw(client, metadata=[("authorization", "Bearer no")])  # and nothing is sent
        assert (await status_of(call)).status == grpc.StatusCode.UNAUTHENTICATED


async def test_the_bytes_of_a_message_are_charged_to_the_key_that_the_gate_has_noted() -> None:
    charged: list[tuple[str | None, int]] = []

    class Counting(OpenGate):
        async def enter(self, authorization: str | None, scope: Scope) -> None:
            request = current()
            assert isinstance(request, RequestContext)
            request.key = authorization

        async def charge(self, *, rows: int = 0, size: int = 0) -> None:
            request = current()
            assert isinstance(request, RequestContext)
            charged.append((request.key, size))
            if len(charged) == 2:
                raise RateLimited("used up.", retry_after=3)

    async with answering(echo, Counting()) as running, client_of(running.address) as client:
        method = client.channel.unary_unary(f"/{SERVICE}/Embed")
        assert await method(b"12345", metadata=[("authorization", "mine")]) == b"12345"
        failed = await status_of(method(b"", metadata=[("authorization", "mine")]))
    assert charged == [("mine", 5), ("mine", 0)]
    assert (failed.fields["code"], failed.retry_after) == ("rate_limited", 3)


async def test_a_second_message_is_refused_and_so_is_none() -> None:
    async with answering(echo) as running, client_of(running.address) as client:
        call = raw(client)
        await call.write(b"a")
        await call.write(b"b")
        failed = await status_of(call)
        assert (failed.status, failed.fields["code"]) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "malformed_request",
        )
        assert "more than one message" in failed.fields["detail"]
        call = raw(client)
        await call.done_writing()
        assert "without a message" in (await status_of(call)).fields["detail"]


async def test_a_client_that_does_not_end_its_call_is_too_slow() -> None:
    async with answering(echo, read_seconds=0.2) as running, client_of(running.address) as client:
        call = raw(client)
        await call.write(b"a")
        failed = await status_of(call)
    assert (failed.status, failed.fields["code"]) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "body_too_slow",
    )


async def test_a_message_whose_end_is_withheld_is_given_up_and_its_place_is_free_again() -> None:
    async with answering(echo, read_seconds=0.2) as running:
        async with connected(running.address) as connection:
            for number in range(8):  # twice the places
                connection.call(2 * number + 1)
                connection.message(2 * number + 1, b"half", announced=1_000, end=False)
            await connection.ended(15)
            await eventually(lambda: sum(running.counted().values()) == 8)
        assert set(running.counted()) <= {"body_too_slow", "overloaded"}
        async with client_of(running.address) as client:
            assert await client.channel.unary_unary(f"/{SERVICE}/Embed")(b"a") == b"a"


async def test_a_call_that_takes_too_long_is_cancelled_and_told_so() -> None:
    work = Hanging()
    async with answering(work, deadline_seconds=0.1) as running, client_of(running.address) as client:
        failed = await status_of(client.channel.unary_unary(f"/{SERVICE}/Embed")(b""))
        await asyncio.wait_for(work.cancelled.wait(), 10)
    assert (failed.status, failed.fields["limit"]) == (grpc.StatusCode.DEADLINE_EXCEEDED, 0.1)


async def test_the_work_knows_the_shorter_of_the_caller_s_deadline_and_ours() -> None:
    async def left(unread: list[bytes]) -> bytes:
        return str(remaining(1_000)).encode()

    async with answering(left, deadline_seconds=50) as running, client_of(running.address) as client:
        method = client.channel.unary_unary(f"/{SERVICE}/Embed")
        assert 30 < float(await method(b"")) <= 50
        assert 10 < float(await method(b"", timeout=30)) < 32  # gRPC rounds what it sends


@pytest.mark.parametrize("seconds", [0.001, 0.05])
async def test_the_caller_s_deadline_ends_the_work_down_to_the_engine(toy: Path, seconds: float) -> None:
    backend = Hung()
    async with serving(backend, toy, grpc_enabled=True) as running, client_of(running.rpc_address) as client:
        await client.call("Embed", texts=["a"])
        backend.hangs = True
        with pytest.raises(Refused) as caught:
            await client.call("Embed", texts=["b"], timeout=seconds)
        assert caught.value.status == grpc.StatusCode.DEADLINE_EXCEEDED
        if backend.begun.is_set():  # the call may have been over before it was there
            await asyncio.wait_for(backend.cancelled.wait(), 1)
        backend.hangs = False
        await client.call("Embed", texts=["b"])


async def test_a_client_that_leaves_ends_the_work_down_to_the_engine(toy: Path) -> None:
    backend = Hung()
    async with serving(backend, toy, grpc_enabled=True) as running, client_of(running.rpc_address) as client:
        await client.call("Embed", texts=["a"])
        backend.hangs = True
        call = client.stub.Embed(clip_pb2.EmbedRequest(texts=["b"]))
        task = asyncio.ensure_future(call)
        await asyncio.wait_for(backend.begun.wait(), 10)
        task.cancel()
        await asyncio.wait_for(backend.cancelled.wait(), 1)  # usually 2 ms


async def test_no_more_calls_are_answered_at_a_time_than_may_be() -> None:
    work = Hanging()
    async with answering(work, grpc_max_calls=1) as running, client_of(running.address) as client:
        method = client.channel.unary_unary(f"/{SERVICE}/Embed")
        first = asyncio.ensure_future(method(b""))
        await asyncio.wait_for(work.begun.wait(), 10)
        failed = await status_of(method(b""))
        assert (failed.status, failed.fields["code"]) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "overloaded",
        )
        assert failed.retry_after == 1
        first.cancel()
        await eventually(lambda: running.counted() == {"overloaded": 1, "client_gone": 1})


async def test_messages_and_large_answers_are_part_of_the_budget_until_they_are_taken() -> None:
    held: list[int] = []

    async def large(unread: list[bytes]) -> bytes:
        held.append(running.budget._used)
        return bytes(1_000_000)

    async with answering(large) as running:
        async with connected(running.address, window=0) as connection:
            connection.call(1)
            connection.message(1, bytes(5_000))
            await eventually(lambda: running.budget._used == 1_005_000)
        await eventually(lambda: running.budget._used == 0)
    assert held == [5_000]


async def test_an_answer_that_is_not_taken_ends_the_call() -> None:
    async with (
        answering(echo, write_timeout_seconds=0.2) as running,
        connected(running.address, window=0) as connection,
    ):
        for stream in (1, 3, 5):  # gRPC forgets the last one when the next comes
            connection.call(stream)
            connection.message(stream, bytes(5_000))
        await connection.ended(3)
        await eventually(lambda: running.counted() == {"OK": 3})
        assert running.budget._used == 0


async def test_a_budget_without_room_refuses(toy: Path) -> None:
    async with answering(echo) as running, client_of(running.address) as client:
        running.budget._limit = 10
        failed = await status_of(client.channel.unary_unary(f"/{SERVICE}/Embed")(bytes(11)))
    assert (failed.status, failed.fields["code"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    log.configure("INFO", stream)
    yield stream
    log.configure("CRITICAL")


async def test_each_call_is_one_line_of_the_log_and_counted_once(
    running: Running, client: Client, written: io.StringIO
) -> None:
    await client.call("Embed", texts=["secret"], metadata=[("x-request-id", "first")])
    with pytest.raises(Refused):
        await client.call("Classify", metadata=[("x-request-id", "second")])
    await eventually(lambda: len(written.getvalue().splitlines()) >= 2)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(each["event"], each["request_id"], each["endpoint"], each["outcome"]) for each in lines] == [
        ("request", "first", "grpc Embed", "OK"),
        ("request", "second", "grpc Classify", "invalid_input"),
    ]
    assert "secret" not in written.getvalue()
    registry = running.gateway.metrics.registry
    labels = {"endpoint": "grpc Embed", "outcome": "OK"}
    assert registry.get_sample_value("clipserve_requests_total", labels) == 1
