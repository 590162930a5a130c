"""Images that requests name by their URL. tests/fetching holds how they are fetched, and from where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loadtests.fake_backend import FakeBackend
from tests.fetching.support import HEAD, listening
from tests.support.service import DIM, Running, png, serving

PHOTO = png()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with listening() as host:
        host.answers = {b"/cat.png": HEAD + b"\r\n" + PHOTO, b"/none": b"HTTP/1.1 404 None\r\n\r\n"}
        yield f"http://127.0.0.1:{host.port}/cat.png"


@pytest.fixture
async def running(toy: Path, url: str) -> AsyncIterator[Running]:
    host = url.removesuffix("/cat.png")
    async with serving(FakeBackend(DIM), toy, image_hosts=(f"{host}=127.0.0.0/8",)) as service:
        yield service


async def post(running: Running, path: str, **body: Any) -> Any:
    return (await running.client.post(path, json=body)).json()


async def test_an_image_by_its_url_has_the_vector_of_its_bytes(running: Running, url: str) -> None:
    (sent,) = (await running.embed(PHOTO)).json()["results"]
    fetched = await post(running, "/embed", images=[url, url.replace("cat.png", "none")], texts=["a"])
    assert fetched["results"][0]["embedding"] == sent["embedding"]
    failed = fetched["results"][1]["error"]
    assert (failed["code"], failed["index"]) == ("image_not_fetched", 1)
    scored = await post(running, "/classify", images=[url], labels=["cat", "dog"])
    assert len(scored["results"][0]["labels"]) == 2
    assert len((await post(running, "/similarity", texts=["a"], to_images=[url]))["results"]) == 1


async def test_adapters_take_urls_too(running: Running, url: str) -> None:
    (sent,) = (await running.embed(PHOTO)).json()["results"]
    part = {"type": "image_url", "image_url": {"url": url}}
    openai = await post(running, "/v1/embeddings", input=[{"image": url}])
    chat = await post(running, "/v1/embeddings", messages=[{"role": "user", "content": [part]}])
    cohere = await post(running, "/v2/embed", embedding_types=["float"], inputs=[{"content": [part]}])
    vectors = [openai["data"][0]["embedding"], chat["data"][0]["embedding"], cohere["embeddings"]["float"][0]]
    assert vectors == [sent["embedding"]] * 3


async def test_a_request_of_the_most_images_has_room_for_their_urls(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, image_hosts=("a.test",), max_images=600) as running:
        assert (await post(running, "/embed", images=["https://b.test/x"] * 600))[
            "code"
        ] == "image_not_fetched"
