"""Every stream that a client can open without a key, and holds, in a process of its own.

    python -m tests.abuse.streams ADDRESS SECONDS SOURCE...

Of each source a few connections to the gRPC port, full of calls: messages of 19 MB without their last byte to each
method, watches, and reflections that ask once. What is ended is opened again a second later.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack

from tests.rpc.raw import connected
from tests.rpc.withholding import Withholding

_WITHHELD, _NONE = 19_000_000, 0  # bytes of a message; an empty one is whole
_CONNECTIONS = 2  # of each source, and of each kind
_STREAMS = 50
_LASTING = (
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
_OTHERS = ("/grpc.health.v1.Health/Check", "/clipserve.v1.Clip/Embed", "/clipserve.v1.Clip/EmbedStream")


async def _hold(address: str, seconds: float, sources: list[str]) -> None:
    kinds = [((*_LASTING, *_OTHERS), _WITHHELD), (_LASTING, _NONE)]
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for source in sources:
            for paths, size in kinds * _CONNECTIONS:
                connection = await stack.enter_async_context(connected(address, source=source))
                group.create_task(Withholding(connection, paths, size, _STREAMS).run(seconds))


def main() -> None:
    os.nice(19)  # hostile clients bring their own CPUs
    address, seconds, *sources = sys.argv[1:]
    asyncio.run(_hold(address, float(seconds), sources))


if __name__ == "__main__":
    main()
