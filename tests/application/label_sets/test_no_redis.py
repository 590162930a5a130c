"""A server that is no Redis: what it answers is a failure of it like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress

import pytest

from clipserve.application.label_sets.redis_store import RedisStore
from clipserve.errors import StoreUnavailable

ANSWERS = {
    "deep arrays": b"*1\r\n" * 100_000,
    "noise": b"\xff\xfe\x00 hello\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a number without an end": b":" + b"9" * 100_000 + b"\r\n",
}


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """The URL of a server that gives this answer to whatever it is asked, once the client is introduced."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with closing(writer), suppress(ConnectionError, asyncio.CancelledError):
            while asked := await reader.read(65_536):
                begins = {b"HELLO": b"%1\r\n+proto\r\n:3\r\n", b"CLIENT": b"+OK\r\n"}
                writer.write(next((said for word, said in begins.items() if word in asked), answer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        tasks = [*filter(None, serving)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_label_sets_in_it_are_unavailable(answer: bytes) -> None:
    async with answering(answer) as url:
        store = RedisStore(url)
        asked: list[Callable[[], Awaitable[object]]] = [
            store.listing,
            lambda: store.read("a.json"),
            lambda: store.write("a.json", b"1"),
            lambda: store.delete(["a.json"]),
        ]
        async with asyncio.timeout(60):
            for ask in asked:
                with pytest.raises(StoreUnavailable):
                    await ask()
        await store.aclose()
