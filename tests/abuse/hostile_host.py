"""A host of images that does harm by the path of a request, in a process of its own.

    python -m tests.abuse.hostile_host FD

FD: a socket that listens.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

from tests.support.forking import ROOT

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@functools.cache
def url() -> str:
    """Where it listens; the first call starts it. Hostile hosts bring their own CPUs."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listener:
        command = [sys.executable, "-m", "tests.abuse.hostile_host", str(listener.fileno())]
        host = subprocess.Popen(command, cwd=ROOT, pass_fds=[listener.fileno()])
        atexit.register(host.kill)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def _silent() -> AsyncIterator[bytes]:
    await asyncio.sleep(600)
    yield b""


async def _after(first: bytes, then: bytes = b"") -> AsyncIterator[bytes]:
    """`first`, and `then` without an end."""
    yield first
    while then:
        yield then


# By path what is sent.
ANSWERS: dict[str, Callable[[], AsyncIterator[bytes]]] = {
    "/silent": _silent,
    "/chunks": lambda: _after(_CHUNKED, b"2\r\nab\r\n" * 2_000),
    "/interim": lambda: _after(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2_000),
    "/headers": lambda: _after(_HEAD, b"X: y\r\n" * 2_000),
}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        async for piece in ANSWERS[path]():
            writer.write(piece)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    os.nice(19)
    server = await asyncio.start_server(_serve, sock=socket.socket(fileno=int(sys.argv[1])))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
