"""URLs and name servers that lead where nobody may go: no listener there sees a connection."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from threading import Event

import pytest

from clipserve.errors import ImageNotFetched
from clipserve.fetching.fetcher import Fetcher
from clipserve.fetching.hosts import Host
from clipserve.telemetry.metrics import Metrics
from tests.fetching.support import IMAGE, Names, fetched, fetching, listening
from tests.support.certificates import self_signed

# The port of a listener on loopback takes the place of PORT.
# Other hosts, by what a reader of URLs may take for them; other schemes, or none; other ports; and listed hosts
# whose names lead inside.
PLAIN = """
    http://127.0.0.1:PORT/ http://localhost:PORT/ http://2130706433:PORT/ http://0x7f000001:PORT/
    http://0177.0.0.1:PORT/ http://127.1:PORT/ http://0:PORT/ http://127.0.0.1.:PORT/ http://[::1]:PORT/
    http://[::ffff:127.0.0.1]:PORT/ http://[::]:PORT/ http://[fe80::1%25lo]:PORT/
    http://a.test@127.0.0.1:PORT/ http://127.0.0.1:PORT@a.test/ http://a.test:PORT@127.0.0.1:PORT/
    http://a.test:x@127.0.0.1:PORT/ http://127.0.0.1:PORT#@a.test:PORT/ http://127.0.0.1:PORT?@a.test/
    http://127.0.0.1:PORT/a.test http://a.test.127.0.0.1.nip.io:PORT/ http://xa.test:PORT/
    http://a.test.:PORT/ http://.a.test:PORT/ http://a..test:PORT/ http://a.test%2eevil:PORT/
    http://a.test%00.evil:PORT/ http://a.test%0d%0aX:PORT/ file:///etc/passwd ftp://a.test:PORT/
    gopher://a.test:PORT/_x dict://a.test:PORT/ ldap://a.test/ https://a.test:PORT/ //a.test:PORT/
    a.test:PORT/ http:a.test:PORT/ http:/a.test:PORT/ http:///a.test:PORT/ jar:http://a.test:PORT/!/
    http://a.test/ http://a.test:80/ http://a.test:0/ http://a.test:99999/ http://a.test:-1/
    http://a.test:PORTPORT/ http://a.test:/ http://a.test:+PORT/ http://b.test:PORT/ http://rebound.test:PORT/
    http://mixed.test:PORT/ http://six.test:PORT/ http://nat64.test:PORT/ http://mapped.test:PORT/
    http://metadata.test:PORT/ http://none.test:PORT/
"""
ATTACKS = [
    *PLAIN.split(),
    "http://127.0.0.1:PORT\\@a.test:PORT/",
    "http://a.test\\@127.0.0.1:PORT/",
    "http://a.test:PORT\\.evil/",
    "http://a.te\u017ft:PORT/",
    "http://\uff41.test:PORT/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:PORT/",
    "http://a\u3002test:PORT/",
    "http://a.test\t:PORT/",
    "http://a .test:PORT/",
    "http:\\\\a.test:PORT/",
    " http://a.test:PORT/",
    "http://a.test:PORT/\r\nX: y",
    "http://a.test:PORT/ HTTP/1.1\r\nX: y",
    "http://a.test:PORT/\x00",
    "http://a.test: PORT/",
    "http://a.test:PORT/" + "x" * 5_000,
]


async def test_no_attack_reaches_a_listener_on_loopback() -> None:
    """`a.test` may lead to loopback, so that only the URL decides; the others may have public addresses alone."""
    names = Names(
        rebound_test=[["127.0.0.1"], ["93.184.216.34"]],
        mixed_test=[["10.0.0.1", "127.0.0.1"]],
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


async def test_each_connection_is_checked_whatever_the_name_was_resolved_to_before() -> None:
    names = Names(a_test=[["127.0.0.1"], ["127.0.0.2", "127.0.0.3"], ["127.0.0.2", "127.0.0.1"]])
    async with (
        listening() as server,
        fetching(f"http://a.test:{server.port}=127.0.0.1/32", names=names) as fetcher,
    ):
        assert await fetched(fetcher, f"http://a.test:{server.port}/") == IMAGE
        assert names.asked == ["a.test"], "once for a fetch"
        with pytest.raises(ImageNotFetched):
            await fetched(fetcher, f"http://a.test:{server.port}/")
        assert await fetched(fetcher, f"http://a.test:{server.port}/") == IMAGE, (
            "of its addresses, the allowed one"
        )
    assert server.connections == 2


async def test_a_host_that_is_listed_by_its_address_is_checked_too() -> None:
    async with listening() as server, fetching(f"http://127.0.0.1:{server.port}") as fetcher:
        with pytest.raises(ImageNotFetched):
            await fetched(fetcher, f"http://127.0.0.1:{server.port}/")
    assert server.connections == 0


async def test_a_certificate_is_that_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path, "server", "DNS:a.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
    async with listening(tls) as server:
        hosts = [f"{name}.test:{server.port}=127.0.0.0/8" for name in "ab"]
        async with fetching(*hosts) as fetcher:
            assert await fetched(fetcher, f"https://a.test:{server.port}/") == IMAGE
            with pytest.raises(ImageNotFetched):
                await fetched(fetcher, f"https://b.test:{server.port}/")


async def test_a_name_server_that_is_silent_is_waited_for_no_longer_than_an_answer() -> None:
    go = Event()

    def silent_names(host: str, port: int) -> list[str]:
        go.wait(120)
        return []

    fetcher = Fetcher([Host.parse("a.test")], 1_000, Metrics(), seconds=0.2, resolve=silent_names)
    began = time.monotonic()
    with pytest.raises(ImageNotFetched):
        await fetched(fetcher, "https://a.test/")
    assert time.monotonic() - began < 60
    go.set()


@pytest.mark.parametrize("name", ["a..b", "x" * 64, "-", "xn--", "nowhere.invalid"])
async def test_a_name_that_cannot_be_resolved_is_refused_as_all_else(name: str) -> None:
    """By the resolver of the system, which has errors of several kinds."""
    fetcher = Fetcher([Host.parse("*.test")], 1_000, Metrics())
    with pytest.raises(ImageNotFetched):
        await fetched(fetcher, f"https://{name}.test/")
