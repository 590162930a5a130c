"""Every limit of a request over HTTP, set to a small number: at exactly the limit it is served, one beyond it is
refused with both numbers. What each layer does at its limits has tests of its own; here the settings reach it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from PIL import Image

from loadtests.fake_backend import FakeBackend
from tests.support import DIM, Running, png, serving, write_toy_artifact

START_OF_SCAN = b"\xff\xda"
PROGRESSIVE = (Path(__file__).parents[1] / "golden" / "pixels" / "progressive.jpg").read_bytes()

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS: dict[str, int] = {
    "max_images": 3,
    "max_request_pixels": 10_000,
    "max_texts": 4,
    "max_text_chars": 5,
    "max_labels": 6,
    "max_label_chars": 7,
    "max_label_bytes": 20,
    "max_templates": 8,
    "max_pixels": 15_000,
    "max_side": 150,
    "max_aspect": 12,
    "max_scans": PROGRESSIVE.count(START_OF_SCAN),
    "max_body_bytes": 9_000,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    toy = await write_toy_artifact(tmp_path_factory.mktemp("limits") / "toy")
    settings: dict[str, Any] = dict(LIMITS)
    async with serving(FakeBackend(DIM), toy, **settings) as running:
        yield running


SMALL = png(size=(8, 8))


def picture(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def progressive(scans: int) -> bytes:
    """A progressive JPEG; scans beyond its own are empty and break it."""
    return PROGRESSIVE[:-2] + START_OF_SCAN * (scans - PROGRESSIVE.count(START_OF_SCAN)) + PROGRESSIVE[-2:]


async def classify(running: Running, images: int = 1, **fields: Any) -> httpx.Response:
    return await running.classify(*[SMALL] * images, **{"truncate": "true"} | fields)


async def embed(running: Running, *images: bytes, **fields: Any) -> httpx.Response:
    return await running.embed(*images, **{"truncate": "true"} | fields)


async def padded(running: Running, size: int) -> httpx.Response:
    """An image in a body of exactly so many bytes: what follows its end is ignored."""
    body = SMALL + bytes(size - len(SMALL))
    return await running.client.post("/embed", content=body, headers={"content-type": "image/png"})


@dataclass(frozen=True)
class Case:
    """`ask`: a request that has so many of what the limit bounds. `index`: what the error must name."""

    ask: Callable[[Running, int], Awaitable[httpx.Response]]
    status: int
    code: str
    index: int | None = None


def labels_of(size: int) -> list[str]:
    """Three labels of so many bytes together, fewer characters, none too long."""
    return ["é" * 4, "ü" * 5, "a" * (size - 18)]


def templates_of(n: int) -> list[str]:
    return [f"{i} {{}}" for i in range(n)]


CASES: dict[str, Case] = {
    "max_images": Case(lambda r, n: embed(r, *[SMALL] * n), 413, "too_many"),
    "max_request_pixels": Case(
        lambda r, n: embed(r, picture(100, 99), picture(10, 9), picture(n - 9_990, 1)), 413, "too_many"
    ),
    "max_texts": Case(lambda r, n: embed(r, text=["a"] * n), 413, "too_many"),
    "max_text_chars": Case(lambda r, n: embed(r, text=["a", "é" * n]), 400, "text_too_long", 1),
    "max_labels": Case(lambda r, n: classify(r, labels=[*"abcdefg"[:n]]), 413, "too_many"),
    "max_label_chars": Case(lambda r, n: classify(r, labels=["a", "b" * n]), 400, "text_too_long", 1),
    "max_label_bytes": Case(lambda r, n: classify(r, labels=labels_of(n)), 413, "too_many"),
    "max_templates": Case(lambda r, n: classify(r, template=templates_of(n)), 413, "too_many"),
    "max_side": Case(lambda r, n: embed(r, picture(n, 13)), 413, "image_too_large", 0),
    "max_aspect": Case(lambda r, n: embed(r, picture(n, 1)), 413, "image_too_large", 0),
    "max_scans": Case(lambda r, n: embed(r, progressive(n)), 413, "image_too_large", 0),
    "max_body_bytes": Case(padded, 413, "body_too_large"),
}


@pytest.mark.parametrize("name", CASES)
async def test_at_the_limit_it_is_served_and_one_beyond_refused_with_both_numbers(
    running: Running, name: str
) -> None:
    case, limit = CASES[name], LIMITS[name]
    served = await case.ask(running, limit)
    assert served.status_code == 200, served.text
    refused = await case.ask(running, limit + 1)
    told = refused.json()
    assert (refused.status_code, told["code"]) == (case.status, case.code)
    assert (told["limit"], told["actual"], told.get("index")) == (limit, limit + 1, case.index)


async def test_an_image_has_as_many_pixels_as_the_limit_and_not_one_row_more(running: Running) -> None:
    assert (await embed(running, picture(120, 125))).status_code == 200
    told = (await embed(running, picture(120, 126))).json()
    assert (told["code"], told["limit"], told["actual"]) == ("image_too_large", 15_000, 15_120)
