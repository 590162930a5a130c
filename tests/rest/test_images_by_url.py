"""Images that requests name by their URL, from a real server with TLS and a certificate authority of its own."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtests.fake_backend import FakeBackend
from tests.access.support import bearer, one_window, write_keys
from tests.certificates import self_signed
from tests.fetching.support import HEAD, listening
from tests.support import DIM, Running, png, serving

PHOTO = png()


class Photo(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/cat.png" else 404)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(PHOTO)))
        self.end_headers()
        self.wfile.write(PHOTO)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def photos(certificate: Path) -> Iterator[str]:
    """The address of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Photo) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("certificate"), "server", "IP:127.0.0.1")


@pytest.fixture
def address(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with photos(certificate) as at:
        yield at


@pytest.fixture
async def running(toy: Path, address: str) -> AsyncIterator[Running]:
    async with serving(FakeBackend(DIM), toy, image_hosts=(f"{address}=127.0.0.0/8",)) as service:
        yield service


async def post(running: Running, path: str, body: object) -> Any:
    return (await running.client.post(path, json=body)).json()


async def test_an_image_by_its_url_has_the_vector_of_its_bytes(running: Running, address: str) -> None:
    url = f"https://{address}/cat.png"
    (sent,) = (await running.embed(PHOTO)).json()["results"]
    fetched = await post(running, "/embed", {"images": [url, f"https://{address}/none.png"], "texts": ["a"]})
    assert fetched["results"][0]["embedding"] == sent["embedding"]
    failed = fetched["results"][1]["error"]
    assert (failed["code"], failed["index"]) == ("image_not_fetched", 1)
    scored = await post(running, "/classify", {"images": [url], "labels": ["cat", "dog"]})
    assert len(scored["results"][0]["labels"]) == 2
    assert len((await post(running, "/similarity", {"texts": ["a"], "to_images": [url]}))["results"]) == 1


async def test_adapters_take_urls_too(running: Running, address: str) -> None:
    url = f"https://{address}/cat.png"
    (sent,) = (await running.embed(PHOTO)).json()["results"]
    part = {"type": "image_url", "image_url": {"url": url}}
    openai = await post(running, "/v1/embeddings", {"model": "toy", "input": [{"image": url}]})
    chat = await post(
        running, "/v1/embeddings", {"model": "toy", "messages": [{"role": "user", "content": [part]}]}
    )
    cohere = await post(
        running, "/v2/embed", {"model": "toy", "embedding_types": ["float"], "inputs": [{"content": [part]}]}
    )
    vectors = [openai["data"][0]["embedding"], chat["data"][0]["embedding"], cohere["embeddings"]["float"][0]]
    assert vectors == [sent["embedding"]] * 3


async def test_the_certificate_of_a_stranger_is_not_accepted(
    toy: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with photos(certificate) as address:
        async with serving(FakeBackend(DIM), toy, image_hosts=(f"{address}=127.0.0.0/8",)) as running:
            refused = await post(running, "/embed", {"images": [f"https://{address}/cat.png"]})
    assert refused["code"] == "image_not_fetched"


async def test_nothing_is_fetched_where_no_host_is_listed(toy: Path, address: str) -> None:
    async with serving(FakeBackend(DIM), toy) as running:
        refused = await post(running, "/embed", {"images": [f"https://{address}/cat.png"]})
    assert (refused["code"], refused["index"]) == ("image_not_fetched", 0)
    assert "URLs are not fetched" in refused["detail"]


async def test_a_refused_request_fetches_nothing(toy: Path, tmp_path: Path) -> None:
    """A key may use the rows of ten seconds at once."""
    keys = write_keys(tmp_path / "keys", slow={"rows_per_second": 5}, other={})
    async with listening() as host:
        host.answers = {b"/cat.png": HEAD + b"\r\n" + PHOTO}
        at = f"http://127.0.0.1:{host.port}"
        settings: dict[str, Any] = {"keys_file": tmp_path / "keys", "image_hosts": (f"{at}=127.0.0.0/8",)}
        asked = {"images": [f"{at}/cat.png"] * 32}
        with one_window():
            async with serving(FakeBackend(DIM), toy, **settings) as running:
                answers = [
                    await running.client.post("/embed", json=asked, headers=bearer(keys[name]))
                    for name in ("slow", "slow", "slow", "other")
                ]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].json()["code"] == "rate_limited"
    assert host.connections == 64
