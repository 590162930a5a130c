"""What is fetched, from a real server, and what is not: of that no listener may see a connection."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from clipserve.errors import ImageNotFetched
from clipserve.fetching.fetcher import Fetcher, Resolve
from clipserve.fetching.hosts import Host
from clipserve.telemetry.metrics import Metrics

IMAGE = b"\x89PNG and more"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(IMAGE) + IMAGE
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Listener:
    """A server on loopback that answers by the path of a request. `asked`: heads of the requests."""

    port: int = 0
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)
    answers: dict[bytes, bytes | Answer] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            answer = self.answers.get(head.split(b" ")[1], WHOLE)
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(head, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Names:
    """A name server of which each name has addresses, one list for each time that it is asked; the last stays."""

    def __init__(self, **addresses: list[list[str]]) -> None:
        self._addresses = addresses
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self._addresses.get(host.replace(".", "_").replace("-", "_"), [["127.0.0.1"]])
        return answers[min(self.asked.count(host), len(answers)) - 1]


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    async with server:
        yield listener


@asynccontextmanager
async def fetching(*hosts: str, names: Resolve | None = None, seconds: float = 5.0) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(
        list(map(Host.parse, hosts)), 1_000, Metrics(), seconds=seconds, resolve=names or Names()
    )
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


async def fetched(fetcher: Fetcher, url: str) -> bytes:
    return await fetcher.fetch(url, lambda _: None)


async def test_a_listed_host_of_a_listed_network_gives_its_image_and_learns_nothing() -> None:
    async with listening() as server, fetching(f"http://a.test:{server.port}=127.0.0.0/8") as fetcher:
        assert await fetched(fetcher, f"http://a.test:{server.port}/cat.png?size=1#top") == IMAGE
    (head,) = server.asked
    first, *lines = head.decode().split("\r\n")
    assert first == "GET /cat.png?size=1 HTTP/1.1"
    assert sorted(line.partition(":")[0] for line in lines if line) == [
        *("Accept", "Accept-Encoding", "Host", "User-Agent"),
    ]
    assert f"Host: a.test:{server.port}" in lines


# The port of a listener on loopback takes the place of PORT.
ATTACKS = [
    # another host, by what a reader of URLs may take for it
    *(
        "http://127.0.0.1:PORT/",
        "http://localhost:PORT/",
        "http://2130706433:PORT/",
        "http://0x7f000001:PORT/",
    ),
    *("http://0177.0.0.1:PORT/", "http://127.1:PORT/", "http://0:PORT/", "http://127.0.0.1.:PORT/"),
    *(
        "http://[::1]:PORT/",
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://[::]:PORT/",
        "http://[fe80::1%25lo]:PORT/",
    ),
    *("http://a.test@127.0.0.1:PORT/", "http://127.0.0.1:PORT@a.test/", "http://a.test:PORT@127.0.0.1:PORT/"),
    *(
        "http://a.test:x@127.0.0.1:PORT/",
        "http://127.0.0.1:PORT#@a.test:PORT/",
        "http://127.0.0.1:PORT?@a.test/",
    ),
    *(
        "http://127.0.0.1:PORT\\@a.test:PORT/",
        "http://a.test\\@127.0.0.1:PORT/",
        "http://a.test:PORT\\.evil/",
    ),
    *("http://127.0.0.1:PORT/a.test", "http://a.test.127.0.0.1.nip.io:PORT/", "http://xa.test:PORT/"),
    *("http://a.test.:PORT/", "http://.a.test:PORT/", "http://a..test:PORT/", "http://a.test%2eevil:PORT/"),
    *(
        "http://a.test%00.evil:PORT/",
        "http://a.test%0d%0aX:PORT/",
        "http://a.te\u017ft:PORT/",
        "http://\uff41.test:PORT/",
    ),
    *("http://①②⑦.⓪.⓪.①:PORT/", "http://a。test:PORT/", "http://a.test\t:PORT/", "http://a .test:PORT/"),
    # another scheme, or none
    *(
        "file:///etc/passwd",
        "ftp://a.test:PORT/",
        "gopher://a.test:PORT/_x",
        "dict://a.test:PORT/",
        "ldap://a.test/",
    ),
    *("https://a.test:PORT/", "//a.test:PORT/", "a.test:PORT/", "http:a.test:PORT/", "http:/a.test:PORT/"),
    *("http:///a.test:PORT/", "http:\\\\a.test:PORT/", "jar:http://a.test:PORT/!/", " http://a.test:PORT/"),
    *("http://a.test:PORT/\r\nX: y", "http://a.test:PORT/ HTTP/1.1\r\nX: y", "http://a.test:PORT/\x00"),
    # another port
    *("http://a.test/", "http://a.test:80/", "http://a.test:0/", "http://a.test:99999/", "http://a.test:-1/"),
    *("http://a.test:PORTPORT/", "http://a.test:/", "http://a.test:+PORT/", "http://a.test: PORT/"),
    # a listed host, whose name leads inside
    *("http://b.test:PORT/", "http://rebound.test:PORT/", "http://mixed.test:PORT/", "http://six.test:PORT/"),
    *(
        "http://nat64.test:PORT/",
        "http://mapped.test:PORT/",
        "http://metadata.test:PORT/",
        "http://none.test:PORT/",
    ),
    "http://a.test:PORT/" + "x" * 5_000,
]


async def test_no_attack_reaches_a_listener_on_loopback() -> None:
    """`a.test` may lead to loopback, so that only the URL decides; the others may have public addresses alone."""
    names = Names(
        rebound_test=[["127.0.0.1"], ["93.184.216.34"]],
        mixed_test=[["93.184.216.34", "127.0.0.1"]],
        six_test=[["::1"]],
        nat64_test=[["64:ff9b::7f00:1"]],
        mapped_test=[["::ffff:127.0.0.1"]],
        metadata_test=[["169.254.169.254"]],
        none_test=[[]],
    )
    public = ("b", "rebound", "mixed", "six", "nat64", "mapped", "metadata", "none")
    async with listening() as server:
        hosts = [f"http://{name}.test:{server.port}" for name in public]
        async with fetching(f"http://a.test:{server.port}=127.0.0.0/8", *hosts, names=names) as fetcher:
            said = set()
            for url in ATTACKS:
                with pytest.raises(ImageNotFetched) as refused:
                    await fetched(fetcher, url.replace("PORT", str(server.port)))
                said.add(refused.value.detail)
            assert server.connections == 0
            assert await fetched(fetcher, f"http://a.test:{server.port}/") == IMAGE, (
                "the listener can be reached"
            )
    assert len(said) == 1, "nobody learns why"
    assert len(ATTACKS) >= 60


async def test_a_name_is_resolved_once_and_the_connection_goes_to_that_address() -> None:
    """A name server that answers otherwise a moment later is not asked."""
    names = Names(a_test=[["127.0.0.1"], ["127.0.0.2"]])
    async with (
        listening() as server,
        fetching(f"http://a.test:{server.port}=127.0.0.1/32", names=names) as fetcher,
    ):
        assert await fetched(fetcher, f"http://a.test:{server.port}/") == IMAGE
        assert names.asked == ["a.test"]
        with pytest.raises(ImageNotFetched):
            await fetched(fetcher, f"http://a.test:{server.port}/")
    assert server.connections == 1


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_a_name_server_that_is_silent_is_waited_for_no_longer_than_an_answer() -> None:
    def silent_names(host: str, port: int) -> list[str]:
        time.sleep(20)
        return []

    fetcher = Fetcher([Host.parse("a.test")], 1_000, Metrics(), seconds=0.2, resolve=silent_names)
    began = time.monotonic()
    with pytest.raises(ImageNotFetched):
        await fetched(fetcher, "https://a.test/")
    await fetcher.aclose()
    assert time.monotonic() - began < 10


async def test_a_redirect_is_followed_to_a_listed_host_alone() -> None:
    async with listening() as server, listening() as inside:
        server.answers = {
            b"/near": redirect("/cat.png"),
            b"/inside": redirect(f"http://127.0.0.1:{inside.port}/"),
            b"/other": redirect(f"http://b.test:{inside.port}/"),
            b"/scheme": redirect("file:///etc/passwd"),
            b"/without": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
            **{f"/{step}".encode(): redirect(f"/{step + 1}") for step in range(9)},
        }
        at = f"http://a.test:{server.port}"
        async with fetching(f"{at}=127.0.0.0/8", f"http://b.test:{inside.port}") as fetcher:
            assert await fetched(fetcher, f"{at}/near") == IMAGE
            assert await fetched(fetcher, f"{at}/6") == IMAGE, "three redirects"
            for path in ("inside", "other", "scheme", "without", "5"):
                with pytest.raises(ImageNotFetched):
                    await fetched(fetcher, f"{at}/{path}")
    assert inside.connections == 0


async def drip(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 900\r\n\r\n")
    for _second in range(900):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"64\r\n" + b"x" * 100 + b"\r\n")
        await writer.drain()


async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


BOMB = gzip.compress(bytes(10_000_000))
ANSWERS: dict[str, bytes | Answer] = {
    "drips": drip,
    "endless": endless,
    "silent": silent,
    "endless header": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
    "announces too much": HEAD + b"Content-Length: 1001\r\n\r\n" + bytes(1_001),
    "too large without an announcement": HEAD + b"\r\n" + bytes(1_001),
    "compressed": HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
    "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx",
    "of no type": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "missing": b"HTTP/1.1 404 Not Found\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nx",
    "torn": HEAD + b"Content-Length: 900\r\n\r\nx",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_that_is_no_image_of_such_a_size_in_time_is_refused(kind: str) -> None:
    async with listening() as server:
        at = f"http://a.test:{server.port}"
        server.answers = {b"/": ANSWERS[kind]}
        async with fetching(f"{at}=127.0.0.0/8", seconds=1.0) as fetcher:
            with pytest.raises(ImageNotFetched):
                await fetched(fetcher, at)


async def test_a_budget_that_is_full_ends_the_fetch() -> None:
    def full(_: int) -> None:
        raise MemoryError

    async with listening() as server, fetching(f"http://a.test:{server.port}=127.0.0.0/8") as fetcher:
        with pytest.raises(MemoryError):
            await fetcher.fetch(f"http://a.test:{server.port}/", full)
