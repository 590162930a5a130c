"""Behind a trusted proxy each client has its own limits; what others write into X-Forwarded-For is nothing."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipserve.connections import Proxies, address_of
from clipserve.rest.protocol import Connections
from clipserve.settings import BadSettings, read_settings
from loadtests import process
from loadtests.fake_backend import FakeBackend
from tests.rest.raw import Raw, connected, post
from tests.rest.test_connections import LIMITS, fake_member
from tests.rest.wire import METRICS
from tests.support.edge import CONFIGURATION
from tests.support.process import ROOT
from tests.support.service import DIM, Running, serving

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


@pytest.mark.parametrize(
    ("source", "told", "prefix"),
    [
        (PROXY, b"/v1/", "/v1"),  # also where paths of the service begin so
        (PROXY, b"//example.com", "/set"),
        (PROXY, "/ö".encode("latin-1"), "/set"),
        (PROXY, b"", "/set"),
        ("127.0.0.8", b"/clip", "/set"),
    ],
)
async def test_the_prefix_is_that_of_a_trusted_proxy_or_the_setting(
    toy: Path, source: str, told: bytes, prefix: str
) -> None:
    backend = FakeBackend(DIM)
    async with (
        serving(backend, toy, trusted_proxies=(PROXY,), root_path="/set") as running,
        connected(running, source) as raw,
    ):
        await raw.send(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: %b\r\n\r\n" % told)
        assert json.loads((await raw.answer()).body)["servers"] == [{"url": prefix}]
        # Its routes, and the forms of their errors, are found as ever.
        body = b'{"input": "a cat", "model": 1}'
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: %b\r\n" % told
        await raw.send(head + b"Content-Type: application/json\r\nContent-Length: 30\r\n\r\n" + body)
        refused = await raw.answer()
        assert (refused.status, "error" in json.loads(refused.body)) == (400, True)
        await raw.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await raw.answer()).status == 200


@pytest.mark.parametrize("path", ["clip", "/clip/", "//clip", "/a b", "https://example.com/clip"])
def test_a_prefix_that_is_none_is_refused_at_the_start(path: str) -> None:
    with pytest.raises(BadSettings, match=r"CLIPSERVE_ROOT_PATH=.* is not a prefix: write /clip"):
        read_settings(root_path=path)


def test_a_trusted_proxy_may_have_all_connections() -> None:
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


@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs Debian's package haproxy")
async def test_behind_haproxy_one_client_s_bodies_leave_room_for_another_s(toy: Path, tmp_path: Path) -> None:
    header = re.search(r"http-request set-header X-Forwarded-For .*", (ROOT / CONFIGURATION).read_text())
    assert header
    port, file = process.free_port(), tmp_path / "haproxy.cfg"

    def listens() -> bool:
        with socket.create_connection(("127.0.0.1", port)):
            return True

    async with serving(FakeBackend(DIM), toy, **WALLS) as running:
        file.write_text(
            "defaults\n mode http\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n"
            f"listen all\n bind 127.0.0.1:{port}\n {header[0]}\n"
            f" server one {running.url.removeprefix('http://')} source {PROXY}\n"
        )
        edge = replace(running, url=f"http://127.0.0.1:{port}")
        with process.running(["haproxy", "-f", str(file)], "haproxy", listens):
            async with (
                connected(edge, "127.0.0.2") as slow,
                connected(edge, "127.0.0.2") as first,
                connected(edge, "127.0.0.3") as other,
            ):
                await holding(running, slow)
                # The header that a client writes is replaced.
                assert await status_of(first, b"X-Forwarded-For: 127.0.0.3") == 429
                assert await status_of(other, b"X-Forwarded-For: 127.0.0.2") == 200


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_address_stands_for_the_network_of_one_customer(host: str, address: str) -> None:
    assert address_of(host) == address
