"""Images that requests name by their URL, from a real server with TLS and a certificate authority of its own."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtests.fake_backend import FakeBackend
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
    file = tmp_path_factory.mktemp("certificate") / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=photos",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file.with_suffix(".key"), "-out", file],
        check=True, capture_output=True,
    )  # fmt: skip
    return file


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


async def test_adapters_and_bulk_lines_take_urls_too(running: Running, address: str) -> None:
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
    lines = await running.client.post(
        "/bulk", content=json.dumps({"image": url}), headers={"Content-Type": "application/x-ndjson"}
    )
    vectors = [openai["data"][0]["embedding"], chat["data"][0]["embedding"], cohere["embeddings"]["float"][0]]
    assert [*vectors, lines.json()["embedding"]] == [sent["embedding"]] * 4


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
    assert (refused["code"], refused["index"]) == ("undecodable_image", 0)
    assert "URLs are not fetched" in refused["detail"]


async def test_fetched_images_have_a_budget(
    running: Running, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipserve.application.byte_budget import ByteBudget

    small = ByteBudget(len(PHOTO) + 1, len(PHOTO) + 1)
    monkeypatch.setattr(running.gateway.inference._rows._fetched, "_budget", small)
    url = f"https://{address}/cat.png"
    assert "results" in await post(running, "/embed", {"images": [url]})
    assert (await post(running, "/embed", {"images": [url, url]}))["code"] == "overloaded"
    assert "results" in await post(running, "/embed", {"images": [url]}), "the bytes are free again"
