"""POST /bulk over real sockets: in order, while lines arrive, and bounded."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.fake_backend import FakeBackend
from tests.access.support import write_keys
from tests.rest.gated import Gated
from tests.rest.raw import ask, connected, get, post
from tests.rest.test_connection import phases
from tests.support import DIM, Running, eventually, png, serving


def text_lines(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def image_line(image: bytes, **more: Any) -> bytes:
    return json.dumps({"image": base64.b64encode(image).decode(), **more}).encode() + b"\n"


async def bulk(running: Running, body: bytes, query: str = "") -> list[dict[str, Any]]:
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await running.client.post(f"/bulk{query}", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


class Duplex:
    """A client that reads answers while it still sends lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.writer.drain()

    async def begin(self) -> None:
        """Send a line, and wait for the header of the answer."""
        await self.send(text_lines("a"))
        await self.reader.readuntil(b"\r\n\r\n")

    async def line(self) -> dict[str, Any]:
        """The next line of the answer; chunks and lines are the same here."""
        size = int(await self.reader.readline(), 16)
        data = await self.reader.readexactly(size)
        await self.reader.readexactly(2)
        answer: dict[str, Any] = json.loads(data)
        return answer


@asynccontextmanager
async def duplex(
    running: Running, header: bytes = b"Accept: */*", *, narrow: bool = False
) -> AsyncIterator[Duplex]:
    """`narrow`: a few answers fill what the systems of both sides keep for it."""
    plug = socket.socket()
    if narrow:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plug.connect(("127.0.0.1", int(running.url.rpartition(":")[2])))
    reader, writer = await asyncio.open_connection(sock=plug, limit=1_024 if narrow else 65_536)
    writer.write(
        b"POST /bulk HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
        b"Transfer-Encoding: chunked\r\n" + header + b"\r\n\r\n"
    )
    try:
        yield Duplex(reader, writer)
    finally:
        writer.close()


async def test_each_line_has_its_answer_in_order_and_equal_to_that_of_embed(running: Running) -> None:
    body = text_lines("a", "b") + image_line(png(), id="x") + b"\n" + text_lines("c")
    answers = await bulk(running, body)
    alone = (await running.embed(png(), text=["a", "b", "c"])).json()["results"]
    expected = [alone[1], alone[2], alone[0], alone[3]]
    assert [answer["index"] for answer in answers] == [0, 1, 2, 4]
    assert answers[2]["id"] == "x"
    for answer, one in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer["embedding"], one["embedding"], atol=1e-6)
        assert answer.get("tokens") == one.get("tokens")


async def test_many_lines_are_read_without_a_wait(running: Running) -> None:
    """They are read in a fraction of a second; a wait of a second at each turn would take a minute."""
    async with asyncio.timeout(30):
        (answer,) = await bulk(running, b"\n" * 16_000 + text_lines("a"))
    assert answer["index"] == 16_000


async def test_the_error_of_a_line_is_its_answer(running: Running) -> None:
    body = text_lines("a", "x" * 50) + b"nonsense\n" + image_line(b"\x89PNG\r\n\x1a\n") + text_lines("b")
    good, long, nonsense, broken, last = await bulk(running, body)
    assert "embedding" in good
    assert "embedding" in last
    codes = [line["error"]["code"] for line in (long, nonsense, broken)]
    assert codes == ["text_too_long", "invalid_input", "undecodable_image"]
    assert [line["error"]["index"] for line in (long, nonsense, broken)] == [1, 2, 3]


async def test_fields_are_in_the_query(running: Running) -> None:
    (answer,) = await bulk(
        running, text_lines("x" * 50), "?truncate=true&embedding_type=ubinary&encoding_format=base64"
    )
    assert answer["truncated"]
    assert len(base64.b64decode(answer["embedding"])) == DIM // 8


@pytest.mark.parametrize(
    ("query", "content_type", "code"),
    [
        ("?model=none", "application/x-ndjson", "unknown_model"),
        ("?expect_fingerprint=other", "application/x-ndjson", "wrong_fingerprint"),
        ("?labels=a", "application/x-ndjson", "invalid_input"),
        ("", "text/plain", "unsupported_media_type"),
    ],
)
async def test_what_is_wrong_before_the_first_line_is_an_error_of_the_request(
    running: Running, query: str, content_type: str, code: str
) -> None:
    answer = await running.client.post(
        f"/bulk{query}", content=text_lines("a"), headers={"Content-Type": content_type}
    )
    assert answer.json()["code"] == code
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


async def test_answers_come_while_lines_still_arrive(running: Running) -> None:
    async with duplex(running) as client:
        await client.send(text_lines("a", "b"))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"x-model-fingerprint: toy@fp32-" in head.lower()
        assert [(await client.line())["index"] for _ in range(2)] == [0, 1]
        await client.send(text_lines("c"))
        assert (await client.line())["index"] == 2
        client.writer.write(b"0\r\n\r\n")
        assert await client.reader.read() == b"0\r\n\r\n"


async def test_an_error_behind_the_first_answer_is_the_last_line(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, max_bulk_lines=3) as running:
        *answers, error = await bulk(running, text_lines(*"abcde"))
        assert [answer["index"] for answer in answers] == [0, 1, 2]
        assert error["error"]["code"] == "too_many"
        assert error["error"]["limit"] == 3


async def test_bytes_are_bounded_and_silence_too(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, max_bulk_bytes=1_000, body_timeout_seconds=1.0) as running:
        answer = await running.client.post(
            "/bulk", content=text_lines(*["x" * 5] * 100), headers={"Content-Type": "application/x-ndjson"}
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        async with duplex(running) as client:
            await client.begin()
            await client.line()
            assert (await client.line())["error"]["code"] == "body_too_slow"


async def test_bulk_requests_over_the_limit_at_a_time_are_refused(toy: Path) -> None:
    backend = Gated()
    async with serving(backend, toy, max_bulk_requests=1) as running:
        backend.gate.clear()
        first = asyncio.create_task(bulk(running, text_lines("a")))
        await eventually(lambda: backend.running > 0)
        refused = await running.client.post(
            "/bulk", content=text_lines("a"), headers={"Content-Type": "application/x-ndjson"}
        )
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        backend.gate.set()
        await first
        await bulk(running, text_lines("a"))


async def test_whoever_leaves_takes_his_lines_with_him(toy: Path) -> None:
    backend = Gated()
    async with serving(backend, toy) as running:
        backend.gate.clear()
        async with duplex(running) as client:
            await client.send(text_lines(*"abc"))
            await eventually(lambda: backend.running == 3)
        await eventually(lambda: backend.running == 0)


@pytest.mark.parametrize("reset", [True, False])
async def test_whoever_leaves_is_missed_though_more_of_his_lines_came_than_are_read(
    toy: Path, reset: bool
) -> None:
    backend = Gated()
    async with serving(backend, toy) as running, connected(running) as raw:
        backend.gate.clear()
        await raw.send(post(text_lines("a") * 50_000, path=b"/bulk", kind=b"application/x-ndjson"))
        await eventually(lambda: backend.running > 0)
        raw.leave(reset=reset)
        try:
            await eventually(lambda: backend.running == 0, 60)  # usually 0.3 s
        finally:
            backend.gate.set()
        assert (await running.embed(text="a")).status_code == 200


async def test_a_stream_at_work_makes_no_room_for_other_connections(toy: Path) -> None:
    shared: dict[str, Any] = {
        "max_in_flight_bytes_per_address": 256_000_000
    }  # by clients of one address, which may have all
    async with (
        serving(FakeBackend(DIM), toy, max_connections=2, **shared) as running,
        duplex(running) as client,
    ):
        await client.begin()
        await client.line()
        async with connected(running) as idle:
            assert (await ask(running, get(), source="127.0.0.2")).status == 200
            assert await idle.closed()
        await eventually(lambda: len(phases(running)) == 1)
        async with connected(running) as second:
            await second.send(post(b"")[:60])
            await eventually(lambda: len(phases(running)) == 2 and "IDLE" not in phases(running))
            assert (await ask(running, get(), source="127.0.0.2")).status == 200
        await client.send(text_lines("b"))
        assert (await client.line())["index"] == 1


SLOW: dict[str, Any] = {"body_timeout_seconds": 0.3, "min_body_bytes_per_second": 512_000}


async def test_a_client_that_drips_lines_loses_its_place(toy: Path) -> None:
    """It has 2.4 s for all its pauses. One alone may be longer, so that a busy machine does not make it silent."""
    slow = SLOW | {"body_timeout_seconds": 60, "most_pauses": 0.04}
    async with serving(FakeBackend(DIM), toy, **slow) as running, duplex(running) as client:
        await client.begin()
        async with asyncio.timeout(60):
            while "error" not in (answer := await client.line()):
                await asyncio.sleep(0.1)
                await client.send(text_lines("a"))
        assert answer["error"]["code"] == "body_too_slow"
        assert answer["error"]["limit"] == 1_000


async def test_a_client_that_waits_for_its_answers_may_send_nothing_meanwhile(toy: Path) -> None:
    backend = Gated()
    brief: dict[str, Any] = {"body_timeout_seconds": 1.0, "most_pauses": 2}
    async with serving(backend, toy, **brief) as running, duplex(running) as client:
        backend.gate.clear()
        await client.send(text_lines("a"))
        await asyncio.sleep(3)  # longer than a pause, and than all together
        backend.gate.set()
        await client.reader.readuntil(b"\r\n\r\n")
        assert (await client.line())["index"] == 0
        await client.send(text_lines("b"))
        assert (await client.line())["index"] == 1


async def test_a_client_that_takes_no_answers_loses_its_place(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, write_timeout_seconds=60, **SLOW) as running:
        with pytest.raises(ConnectionError):  # noqa: PT012
            async with asyncio.timeout(60), duplex(running, narrow=True) as client:  # it has 2.4 s
                line = json.dumps({"text": "abc", "id": "\x01" * 256}).encode() + b"\n"  # six bytes each
                while True:
                    await client.send(line * 100)


async def test_half_of_the_places_are_for_one_address(toy: Path) -> None:
    line = post(text_lines("a"), path=b"/bulk", kind=b"application/x-ndjson")
    async with serving(FakeBackend(DIM), toy, max_bulk_requests=2) as running, duplex(running) as client:
        await client.begin()
        refused = await ask(running, line)
        assert (refused.status, refused.code) == (429, "overloaded")
        assert b"your address has 1 bulk requests at work; the limit is 1, of 2 in all" in refused.body
        assert (await ask(running, line, source="127.0.0.2")).status == 200


@pytest.mark.parametrize(("with_keys", "status"), [(False, 200), (True, 429)])
async def test_behind_a_proxy_one_address_has_all_places_unless_keys_tell_callers_apart(
    toy: Path, tmp_path: Path, with_keys: bool, status: int
) -> None:
    header = b"Accept: */*"
    settings: dict[str, Any] = {"max_bulk_requests": 2, "max_in_flight_bytes_per_address": 256_000_000}
    if with_keys:
        settings["keys_file"] = tmp_path / "keys"
        key = write_keys(tmp_path / "keys", camera={})["camera"]
        header = b"Authorization: Bearer %b" % key.encode()
    line = post(text_lines("a"), header, path=b"/bulk", kind=b"application/x-ndjson")
    async with serving(FakeBackend(DIM), toy, **settings) as running, duplex(running, header) as client:
        await client.begin()
        assert (await ask(running, line)).status == status


@pytest.mark.slow
async def test_whoever_reads_no_answers_stops_the_reading(toy: Path) -> None:
    """And is cut off in the end, as any who takes no answer."""

    async with serving(FakeBackend(DIM), toy, write_timeout_seconds=1) as running:
        data, sent = text_lines(*["abc"] * 500), 0
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):  # noqa: PT012
            async with duplex(running) as client:
                while True:
                    sent += len(data)
                    await client.send(data)
                    assert sent < 50_000_000
        assert (await running.embed(text="a")).status_code == 200
