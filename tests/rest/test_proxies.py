"""Behind a trusted proxy each client has its own limits; what others write into X-Forwarded-For is nothing."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from clipserve.connections import Proxies
from loadtests.fake_backend import FakeBackend
from loadtests.process import free_port
from tests.edge import CONFIGURATION
from tests.process import ROOT
from tests.rest.raw import Raw, connected, post
from tests.rest.test_connections import LIMITS, fake_member
from tests.support import DIM, Running, serving

PROXY = "127.0.0.9"
# A body is nearly all that an address may have at a time.
WALLS: dict[str, Any] = {
    "max_body_bytes": 1_000,
    "max_in_flight_bytes": 2_000,
    "max_in_flight_bytes_per_address": 1_000,
    "trusted_proxies": (PROXY,),
}
BODY = b'{"texts": ["a cat"]}'.ljust(900)


def texts(*headers: bytes) -> bytes:
    return post(BODY, *headers, kind=b"application/json")


async def status_of(raw: Raw, *headers: bytes) -> int:
    await raw.send(texts(*headers))
    return (await raw.answer()).status


async def holding(running: Running, raw: Raw, *headers: bytes) -> None:
    """Let a body stay on its way until the test ends."""
    app: Any = running.gateway.app
    await raw.send(texts(*headers)[:-1])
    async with asyncio.timeout(60):
        while not app.state.service.budget.used:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("source", "statuses"),
    [
        pytest.param(PROXY, (429, 200), id="a trusted proxy: the limit is the client's"),
        pytest.param("127.0.0.8", (429, 429), id="another address: it is its own, whatever it writes"),
    ],
)
async def test_limits_are_those_of_the_client_that_a_trusted_proxy_names(
    toy: Path, source: str, statuses: tuple[int, int]
) -> None:
    one, other = b"X-Forwarded-For: 10.1.1.1, 192.0.2.1", b"X-Forwarded-For: 192.0.2.1, 192.0.2.2"
    async with (
        serving(FakeBackend(DIM), toy, **WALLS) as running,
        connected(running, source) as slow,
        connected(running, source) as first,
        connected(running, source) as second,
    ):
        await holding(running, slow, one)
        assert (await status_of(first, one), await status_of(second, other)) == statuses


def test_a_trusted_proxy_may_have_all_connections() -> None:
    from clipserve.rest.protocol import Connections
    from tests.rest.wire import METRICS

    connections = Connections(LIMITS, METRICS)
    for _ in range(LIMITS.max_connections):
        member = fake_member(PROXY)
        member.proxied = True
        connections.admit(member)
    assert len(connections.connections) == LIMITS.max_connections


@pytest.mark.parametrize(
    ("host", "forwarded", "client"),
    [
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.9, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.7", "192.0.2.1", "192.0.2.7"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_is(host: str, forwarded: str, client: str) -> None:
    assert Proxies(("10.0.0.0/8",)).client_of(host, forwarded) == client


@asynccontextmanager
async def haproxy(running: Running, folder: Path) -> AsyncIterator[int]:
    """The port of an HAProxy in front of it, which connects from PROXY and writes the header as the edge does."""
    header = re.search(r"http-request set-header X-Forwarded-For .*", (ROOT / CONFIGURATION).read_text())
    assert header
    port = free_port()
    (folder / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n"
        f"listen all\n bind 127.0.0.1:{port}\n {header[0]}\n"
        f" server one {running.url.removeprefix('http://')} source {PROXY}\n"
    )
    with subprocess.Popen(["haproxy", "-f", str(folder / "haproxy.cfg")]) as process:
        try:
            yield port
        finally:
            process.kill()


@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs Debian's package haproxy")
async def test_behind_haproxy_one_client_s_bodies_leave_room_for_another_s(toy: Path, tmp_path: Path) -> None:
    async with serving(FakeBackend(DIM), toy, **WALLS) as running, haproxy(running, tmp_path) as port:

        async def client(source: str) -> Raw:
            async with asyncio.timeout(60):
                while True:
                    try:
                        return Raw(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))
                    except ConnectionRefusedError:
                        await asyncio.sleep(0.05)

        slow, first, other = [await client(source) for source in ("127.0.0.2", "127.0.0.2", "127.0.0.3")]
        await holding(running, slow)
        # The header that a client writes is replaced.
        assert await status_of(first, b"X-Forwarded-For: 127.0.0.3") == 429
        assert await status_of(other, b"X-Forwarded-For: 127.0.0.2") == 200
        for raw in (slow, first, other):
            raw.leave()
