"""What a worker tells its supervisor, from a thread that the event loop cannot hold up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from prometheus_client import CollectorRegistry

from clipserve.operations.pulse import BEAT_SECONDS, Pulse
from clipserve.processes.channel import line
from clipserve.processes.summing import page_of

ALONE = "alone"  # the supervisor has ended


class Reports:
    """The worker's end of the channel."""

    def __init__(
        self, channel: socket.socket, pulse: Pulse, registry: CollectorRegistry, obey: Callable[[str], object]
    ) -> None:
        """`obey` is called with each other command, and with `ALONE` in the end: in the thread of `serve`."""
        self._channel = channel
        self._pulse = pulse
        self._registry = registry
        self._obey = obey

    async def serve(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or the supervisor has ended."""
        reader, writer = await asyncio.open_connection(sock=self._channel.dup())
        tasks = [asyncio.create_task(each) for each in (self._beat(writer), self._listen(reader, writer))]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({*tasks[1:], stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, stopping):
            task.cancel()
        writer.close()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(line(ready=self._pulse.ready, blocked=self._pulse.blocked_seconds))
            await asyncio.sleep(BEAT_SECONDS)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while command := (await reader.readline()).decode().strip():
                if command == "metrics":
                    writer.write(line(page=page_of(self._registry)))
                else:
                    self._obey(command)
        self._obey(ALONE)
