"""One request and its answer: ids, times, the connection, and what is counted and logged."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipserve.access.gate import Gate
from clipserve.application.shared import Shared
from clipserve.errors import Overloaded
from clipserve.quota import Quota
from clipserve.rest.body import BodyLimits
from clipserve.rest.exchange import Exchange
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import remaining
from loadtests.fake_backend import FakeBackend
from tests.rest.raw import ask, connected, hold, post, requests_counted
from tests.support.service import DIM, Running, png, serving

LIMITS = BodyLimits(max_body_bytes=1_000, body_timeout_seconds=0.3, deadline_seconds=20)
REQUEST = {"type": "http.request", "body": b"body", "more_body": False}


async def posted(running: Running, content: bytes = b'{"texts": ["a"]}', **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent["content-type"] = "application/json"
    return await running.client.post("/embed", content=content, headers=sent)


class Client:
    """What the server would be to an application: one request, and what is answered."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages or [REQUEST])
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def exchange(
    app: ASGIApp,
    limits: BodyLimits = LIMITS,
    budget: Quota | None = None,
    metrics: Metrics | None = None,
) -> Exchange:
    """Around an application that is not FastAPI's."""
    nothing: Any = None
    budget, metrics = budget or Quota("bytes", 1_000), metrics or Metrics()
    return Exchange(app, Shared(nothing, budget, Quota("bulk requests", 4), Gate(), metrics), limits)


def scope(**changes: Any) -> Scope:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"x")],
    } | changes


# The request's id.


async def test_a_request_id_that_is_a_plain_word_is_kept_and_another_is_replaced(running: Running) -> None:
    assert (await posted(running, x_request_id="A.b_c-9")).headers["x-request-id"] == "A.b_c-9"
    refused = await posted(running, b"{", x_request_id="A.b_c-9")
    assert refused.headers["x-request-id"] == refused.json()["request_id"] == "A.b_c-9"
    replaced = await posted(running, x_request_id="no word")
    assert re.fullmatch("[0-9a-f]{32}", replaced.headers["x-request-id"])


# Stage times.


async def test_an_answer_tells_the_milliseconds_of_each_stage_it_went_through(toy: Path) -> None:
    async with serving(FakeBackend(DIM, delay=0.05), toy) as running:
        began = time.perf_counter()
        told = (await running.embed(png(), text="a")).headers["server-timing"]
        most = (time.perf_counter() - began) * 1_000
        assert re.fullmatch(r"(\w+;dur=\d+\.\d(, |$))+", told)
        milliseconds = {name: float(value) for name, value in re.findall(r"(\w+);dur=([\d.]+)", told)}
        assert set(milliseconds) == {"decode", "tokenize", "encode_image", "encode_text"}
        for stage in ("encode_image", "encode_text"):
            assert 45 <= milliseconds[stage] < most  # a timer may be early by a tick
        assert "server-timing" not in (await posted(running, b"{")).headers


# The connection.


@pytest.mark.parametrize(
    ("content", "status", "headers"),
    [
        (bytes(1_001), 413, {}),
        (bytes(902), 429, {}),
        (b"{}", 400, {"content_encoding": "gzip"}),
    ],
)
async def test_a_body_that_is_not_read_to_its_end_closes_the_connection(
    toy: Path, content: bytes, status: int, headers: dict[str, str]
) -> None:
    async with serving(FakeBackend(DIM), toy, max_body_bytes=1_000, max_in_flight_bytes=1_001) as running:
        hold(running, 100)
        refused = await posted(running, content, **headers)
    assert (refused.status_code, refused.headers["connection"]) == (status, "close")


@pytest.mark.parametrize("path", [b"/embed", b"/v1/embeddings"])
async def test_a_body_that_stops_is_a_408_in_the_form_of_its_path(toy: Path, path: bytes) -> None:
    async with serving(FakeBackend(DIM), toy, body_timeout_seconds=0.3) as running, connected(running) as raw:
        await raw.send(post(b"{}", path=path, kind=b"application/json")[:-1])
        answer = await raw.answer()
    said = json.loads(answer.body)
    assert (answer.status, said.get("error", said)["code"]) == (408, "body_too_slow")
    assert ("error" in said) == (path == b"/v1/embeddings")


# Headers.


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez\r\n",
        b"GET /livez HTTP/1.1\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: x\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n",
        b"POST /embed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"POST /embed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ],
)
async def test_headers_that_a_proxy_may_understand_otherwise_are_refused(
    running: Running, head: bytes
) -> None:
    async with connected(running) as raw:
        await raw.send(head + b"\r\n")
        answer = await raw.answer()
        assert (answer.code, answer.headers["connection"]) == ("malformed_request", "close")
        assert await raw.closed()


async def test_a_client_of_http_1_0_need_not_name_a_host(running: Running) -> None:
    assert (await ask(running, b"GET /livez HTTP/1.0\r\n\r\n")).status == 200


# What a request has.


async def test_a_request_has_its_deadline_from_the_last_byte_on_and_its_bytes_until_the_end() -> None:
    budget, seen = Quota("bytes", 7), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(remaining(0))
        with budget.lease("client") as lease:
            lease.grow(3)
            with pytest.raises(Overloaded):
                lease.grow(1)
        await Response(b"answer")(scope, receive, send)

    served = exchange(app, budget=budget)
    for _ in range(2):
        client = Client()
        await served(scope(), client.receive, client.send)
    budget.lease("client").grow(7)
    assert all(10 < each <= 20 for each in seen)
    assert len(seen) == 2


# What ends otherwise.


async def test_a_client_who_leaves_is_counted_and_not_answered() -> None:
    client, metrics = Client({"type": "http.disconnect"}), Metrics()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("there is no request")

    await exchange(app, metrics=metrics)(scope(), client.receive, client.send)
    assert client.sent == []
    assert requests_counted(metrics) == {("other", "client_gone"): 1}


async def test_an_error_after_the_answer_has_begun_is_counted_and_not_told() -> None:
    client, metrics = Client(), Metrics()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Overloaded("too late", retry_after=1)

    await exchange(late, metrics=metrics)(scope(), client.receive, client.send)
    assert [message["type"] for message in client.sent] == ["http.response.start"]
    assert requests_counted(metrics) == {("other", "overloaded"): 1}
