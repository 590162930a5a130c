"""Two real Tritons, one of which is killed, ended or stopped in turn while four clients ask.

`TRITON_ROUNDS=20 make test-all ONLY=triton ARGS="-k several"` does so 20 times each, in
about six minutes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import httpx

from tests.support.process import PATIENT, PATIENT_WITH_CLIENTS, Process
from tests.support.service import form, png

if TYPE_CHECKING:
    from .conftest import Triton

ROUNDS = int(os.environ.get("TRITON_ROUNDS", "1"))
CLIENTS, DEADLINE_SECONDS = 4, PATIENT["deadline_seconds"]


class Load:
    """Four clients of a gateway, each with one request at a time, until `end`.

    Attributes:
        now: what is being done to a server, by which requests are counted.
        answers: (what was done, status, code) -> requests.
        slowest: seconds of a request, by what was done.
    """

    def __init__(self, process: Process, servers: list[Triton]) -> None:
        self.now = "nothing"
        self.answers: Counter[tuple[str, int, str]] = Counter()
        self.slowest: dict[str, float] = {}
        self._process = process
        self._servers = servers
        self._client = httpx.AsyncClient(base_url=process.url, timeout=2 * DEADLINE_SECONDS)
        self._ended = False
        self._clients = [asyncio.create_task(self._ask(number)) for number in range(CLIENTS)]

    async def _ask(self, number: int) -> None:
        picture = form([png(number)], {})
        while not self._ended:
            began = time.monotonic()
            files = picture if number % 2 else form([], {"text": f"{began}"})
            answer = await self._client.post("/embed", files=files)
            seconds = time.monotonic() - began
            code = "" if answer.status_code == 200 else answer.json()["code"]
            self.answers[self.now, answer.status_code, code] += 1
            self.slowest[self.now] = max(seconds, self.slowest.get(self.now, 0))
            await asyncio.sleep(0.05)  # or they take the CPU that a server needs to start

    async def until_up(self) -> None:
        """Wait until the gateway uses both servers."""
        labels = [
            f'clipserve_triton_endpoint_up{{endpoint="{each.url}",model="demo"}} 1.0'
            for each in self._servers
        ]
        async with asyncio.timeout(600):
            while True:
                page = (await self._client.get(self._process.operations_url + "/metrics")).text
                if all(label in page for label in labels):
                    return
                await asyncio.sleep(0.1)

    async def end(self) -> None:
        self._ended = True
        await asyncio.gather(*self._clients)
        await self._client.aclose()

    def count(self, what: str = "", *, failed: bool) -> int:
        return sum(
            number
            for (done, status, _), number in self.answers.items()
            if what in ("", done) and (status != 200 or not failed)
        )


async def disturb(server: Triton, what: str) -> None:
    """Do it, and bring the server back where it has ended."""
    if what == "SIGSTOP":
        server.pause()
        await asyncio.sleep(3)
        server.resume()
        await asyncio.sleep(
            1
        )  # the server of 24.10 can crash on the cancellations that it finds when it wakes up
    else:
        await asyncio.to_thread(server.kill if what == "SIGKILL" else server.stop)
        await asyncio.sleep(0.5)
    await asyncio.to_thread(bring_back, server)


def bring_back(server: Triton) -> None:
    """Start it where it has ended; and once more, should it get stuck in its start, which this is not about."""
    server.start()
    try:
        server.wait_ready(60)
    except AssertionError:
        server.kill()
        server.start()
        server.wait_ready()


async def test_hardly_a_request_fails_when_one_of_two_servers_does(pair: list[Triton]) -> None:
    urls = ",".join(server.url for server in pair)
    process = Process(backend="triton", triton_url=urls, **PATIENT_WITH_CLIENTS)
    await asyncio.to_thread(process.wait_ready)
    load = Load(process, pair)
    try:
        await load.until_up()
        for number in range(ROUNDS):
            for load.now in ("SIGSTOP", "SIGTERM", "SIGKILL"):
                await disturb(pair[number % 2], load.now)
                await load.until_up()
                await asyncio.sleep(0.3)
            print(number + 1, dict(load.answers), load.slowest, flush=True)
    finally:
        await load.end()
        status, _ = process.stop()
    assert status == 0
    assert load.count("SIGTERM", failed=True) == 0, load.answers
    assert load.count(failed=True) <= max(1, ROUNDS / 2), load.answers
    assert max(load.slowest.values()) < DEADLINE_SECONDS, load.slowest
    assert load.count(failed=False) > 20 * ROUNDS, "there was a load"
