"""What is fetched from a listed host, and which answers are refused."""

from __future__ import annotations

import asyncio
import gzip
from threading import Event, Semaphore

import pytest

from clipserve.errors import ImageNotFetched
from clipserve.fetching.fetcher import AT_ONCE, MAX_BYTES
from tests.fetching.support import HEAD, IMAGE, WHOLE, Answer, fetched, fetching, listening
from tests.support.logs import logged


async def test_a_listed_host_of_a_listed_network_gives_its_image_and_learns_nothing() -> None:
    async with listening() as server, fetching(f"http://a.test:{server.port}=127.0.0.0/8") as fetcher:
        assert await fetched(fetcher, f"http://a.test:{server.port}/cat.png?size=1#top") == IMAGE
    (head,) = server.asked
    first, *lines = head.decode().split("\r\n")
    assert first == "GET /cat.png?size=1 HTTP/1.1"
    assert sorted(line.partition(":")[0] for line in lines if line) == [
        *("Accept", "Accept-Encoding", "Connection", "Host", "User-Agent"),
    ]
    assert f"Host: a.test:{server.port}" in lines


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_a_redirect_is_followed_to_a_listed_host_alone() -> None:
    async with listening() as server, listening() as inside:
        server.answers = {
            b"/near": redirect("/cat.png"),
            b"/inside": redirect(f"http://127.0.0.1:{inside.port}/"),
            b"/other": redirect(f"http://b.test:{inside.port}/"),
            b"/scheme": redirect("file:///etc/passwd"),
            b"/none": redirect("http://["),
            b"/without": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
            **{f"/{step}".encode(): redirect(f"/{step + 1}") for step in range(9)},
        }
        at = f"http://a.test:{server.port}"
        async with fetching(f"{at}=127.0.0.0/8", f"http://b.test:{inside.port}") as fetcher:
            assert await fetched(fetcher, f"{at}/near") == IMAGE
            assert await fetched(fetcher, f"{at}/6") == IMAGE, "three redirects"
            for path in ("inside", "other", "scheme", "none", "without", "5"):
                with pytest.raises(ImageNotFetched):
                    await fetched(fetcher, f"{at}/{path}")
    assert inside.connections == 0


async def drip(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 900\r\n\r\n")
    for _second in range(900):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


def endless(first: bytes, then: bytes) -> Answer:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(then * 100)
            await writer.drain()

    return answer


async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(10_000_000))
ANSWERS: dict[str, bytes | Answer] = {
    "drips": drip,
    "endless": endless(CHUNKED, b"64\r\n" + b"x" * 100 + b"\r\n"),
    "silent": silent,
    "compressed": HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
    "torn": HEAD + b"Content-Length: 3\r\n\r\nab",
    "torn in a chunk": CHUNKED + b"4\r\nab",
    "too large": HEAD + b"Content-Length: 1001\r\n\r\n" + bytes(1001),
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
    "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx",
    "of no type": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "missing": b"HTTP/1.1 404 Not Found\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nx",
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_that_is_no_image_of_such_a_size_in_time_is_refused(kind: str) -> None:
    async with listening() as server:
        at = f"http://a.test:{server.port}"
        server.answers = {b"/": ANSWERS[kind]}
        async with fetching(f"{at}=127.0.0.0/8", seconds=1.0) as fetcher:
            with pytest.raises(ImageNotFetched):
                await fetched(fetcher, at)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(HEAD, b"X: y\r\n", id="headers"),
        pytest.param(HEAD + b"X: ", b"y" * 100, id="one header"),
        pytest.param(CHUNKED, b"2\r\nab\r\n", id="chunks of two bytes"),
        pytest.param(CHUNKED + b"0\r\n", b"X: y\r\n", id="trailers"),
        pytest.param(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", id="interim answers"),
    ],
)
async def test_what_costs_work_and_brings_no_image_ends_long_before_its_time(
    first: bytes, then: bytes
) -> None:
    async with listening() as server:
        at = f"http://a.test:{server.port}"
        server.answers = {b"/": endless(first, then)}
        async with fetching(f"{at}=127.0.0.0/8", seconds=600, max_bytes=MAX_BYTES) as fetcher:
            with pytest.raises(ImageNotFetched):
                await asyncio.wait_for(fetched(fetcher, at), 60)


async def test_a_few_interim_answers_come_before_the_image_and_are_skipped() -> None:
    async with listening() as server:
        at = f"http://a.test:{server.port}"
        early = b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n"
        server.answers = {b"/": early * 3 + WHOLE}
        async with fetching(f"{at}=127.0.0.0/8") as fetcher:
            assert await fetched(fetcher, at) == IMAGE


async def test_the_log_has_the_reason_and_of_the_url_the_host_alone() -> None:
    async with fetching("b.test") as fetcher:
        with logged() as log, pytest.raises(ImageNotFetched):
            await fetched(fetcher, "https://a.test/private?signature=secret")
    (line,) = log.lines
    assert (line["event"], line["host"]) == ("image_not_fetched", "a.test")
    assert line["reason"] == "the host is not listed in CLIPSERVE_IMAGE_HOSTS"
    assert "secret" not in log.getvalue()


async def test_the_wait_for_other_fetches_is_not_the_hosts_time() -> None:
    async with listening() as server:
        at = f"http://a.test:{server.port}"
        server.answers = {b"/silent": silent}
        async with fetching(f"{at}=127.0.0.0/8", seconds=3.0) as fetcher:
            tasks = [asyncio.create_task(fetched(fetcher, f"{at}/silent", "a")) for _ in range(AT_ONCE)]
            await asyncio.sleep(0)
            assert await fetched(fetcher, f"{at}/cat.png", "a") == IMAGE, "when these have ended"
            failed = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in failed} == {ImageNotFetched}


async def test_a_name_server_that_is_silent_holds_up_nobody_else() -> None:
    asked, go = Semaphore(0), Event()

    def names(host: str, port: int) -> list[str]:
        if host != "a.test":
            asked.release()
            go.wait(60)
        return ["127.0.0.1"]

    async with listening() as server:
        hosts = [f"http://{name}:{server.port}=127.0.0.0/8" for name in ("a.test", "*.slow.test")]
        async with fetching(*hosts, names=names, seconds=60) as fetcher:
            for _ in range(2):  # more than have places at once
                slow = [f"http://{number}.slow.test:{server.port}/" for number in range(AT_ONCE // 2)]
                tasks = [asyncio.create_task(fetched(fetcher, url, "a")) for url in slow]
                await asyncio.gather(*(asyncio.to_thread(asked.acquire) for _ in slow))
                assert await fetched(fetcher, f"http://a.test:{server.port}/", "b") == IMAGE
                for task in tasks:  # as at the end of their time
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            go.set()


async def test_a_fetch_waits_for_memory_and_that_is_not_the_hosts_time() -> None:
    async with listening() as server:
        at = f"http://a.test:{server.port}"
        server.answers = {b"/": HEAD + b"\r\n" + IMAGE}  # of no length: as long as images may be
        async with fetching(f"{at}=127.0.0.0/8", seconds=2.0, max_bytes=MAX_BYTES) as fetcher:
            async with fetcher.fetched(at, "a"), fetcher.fetched(at, "c"):
                waiting = asyncio.create_task(fetched(fetcher, at, "b"))
                await asyncio.sleep(2.5)  # longer than a fetch may take
                assert not waiting.done()
            assert await waiting == IMAGE
