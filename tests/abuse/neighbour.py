"""A good client, in a process of its own: an attacker's Python must not hold it up. It has another address.

    python -m tests.abuse.neighbour HOST PORT

It asks for /livez thirty times a second and sends what stands on its standard input, a photo, three times a second,
each on a connection of its own, as a kubelet does. A line for each answer: when it was asked, in seconds of the
monotonic clock, how many seconds it took, and the status, 0 where there was none.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.abuse.answers import http_answers
from tests.abuse.attack import GET, good


@dataclass(frozen=True)
class Answered:
    asked: float
    seconds: float
    status: int


class Neighbour:
    """The process, and what it has seen."""

    def __init__(self, host: str, port: int) -> None:
        self._seen: list[Answered] = []
        command = [sys.executable, "-m", "tests.abuse.neighbour", host, str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(good())  # this process has it already
        self._process.stdin.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            asked, seconds, status = line.split()
            self._seen.append(Answered(float(asked), float(seconds), int(status)))

    def since(self, start: float) -> list[Answered]:
        """The answers to all that was asked from then to now; waits for them."""
        end, until = time.monotonic(), time.monotonic() + 60
        while time.monotonic() < until and not (self._seen and self._seen[-1].asked > end):
            time.sleep(0.05)
        return [each for each in self._seen if start <= each.asked <= end]

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It asks nothing in this block."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.kill()
        with self._process:  # its pipes are closed
            self._reader.join()


async def _ask(host: str, port: int, period: float, request: bytes) -> None:
    while True:
        asked, answer = time.monotonic(), None
        try:
            async with asyncio.timeout(50):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(request)
                data = bytearray()
                while not (answer := http_answers(data)) and (more := await reader.read(65_536)):
                    data += more
                writer.close()
        except (OSError, TimeoutError):
            pass
        seconds = time.monotonic() - asked
        print(asked, seconds, answer.status if answer else 0, flush=True)
        await asyncio.sleep(max(0.0, period - seconds))


async def main() -> None:
    async with asyncio.TaskGroup() as group:
        for period, request in ((1 / 30, GET), (1 / 3, sys.stdin.buffer.read())):
            group.create_task(_ask(sys.argv[1], int(sys.argv[2]), period, request))


if __name__ == "__main__":
    asyncio.run(main())
