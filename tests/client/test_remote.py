"""`--url`: a running service, asked by a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clipserve.access.key_file import add_key
from clipserve.api.answers import Answer
from clipserve.client.errors import BadAddress, FingerprintChanged, ItemFailed, Refused
from clipserve.client.http import Connection
from clipserve.client.remote import AsyncClient
from loadtests.fake_backend import FakeBackend
from tests.commands.hostile import EMBEDDED, MODELS, SUMMARY, Parts, body, head
from tests.commands.hostile import serving as serving_answers
from tests.support.service import DIM, png, serving


async def test_a_key_that_is_missing_is_asked_for_and_never_told(toy: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "tests", ["use"])
    async with serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys") as service:
        async with AsyncClient(service.url, key=key) as clip:
            await clip.embed_image(png())
        for wrong in (None, "wrong-secret", "wrong secret\n"):
            with pytest.raises((BadAddress, Refused), match="CLIPSERVE_KEY") as refused:
                async with AsyncClient(service.url, key=wrong) as clip:
                    await clip.served_by()
            assert "secret" not in str(refused.value)


@contextmanager
def answering(*answers: Parts) -> Iterator[tuple[str, list[bytes]]]:
    """A server with these answers, one after the other, and the requests that came."""
    left = iter(answers)
    with serving_answers(lambda _: next(left)) as (url, requests):
        yield url, requests


async def test_a_connection_that_breaks_and_a_proxy_s_error_are_tried_again() -> None:
    broken = [head("Transfer-Encoding: chunked") + b"zz"]
    proxy = body(b"<html>no upstream</html>", 503)
    with answering(body(EMBEDDED), proxy, broken, body(EMBEDDED)) as (url, requests):
        async with AsyncClient(url, in_flight=1) as clip:
            for _ in range(2):  # one that never answers is given up soon
                await clip.embed_text("a", truncate=False)
    assert len(requests) == 4


async def test_an_error_of_the_encoders_is_the_item_s() -> None:
    with answering(body({"code": "backend_failed", "detail": "onnxruntime failed."}, 502)) as (url, _):
        async with AsyncClient(url, in_flight=1) as clip:
            with pytest.raises(ItemFailed, match="backend_failed"):
                await clip.embed_text("a", truncate=False)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://user:secret@host"])
def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(
        BadAddress, match=r"the address must be(gin with http:// or https://| without a user)"
    ) as refused:
        AsyncClient(url)
    assert "secret" not in str(refused.value)


async def test_label_sets_of_other_models_are_not_offered() -> None:
    sets = [SUMMARY, SUMMARY | {"name": "cars", "model": "other"}]
    with answering(body(MODELS), body({"label_sets": sets})) as (url, _):
        async with AsyncClient(url) as clip:
            assert await clip.label_sets() == ["pets"]


async def test_a_server_that_changes_its_model_on_the_way_is_not_asked_any_more() -> None:
    changed = body({"code": "wrong_fingerprint", "detail": "the fingerprint of toy is toy@2."}, 409)
    with answering(body(MODELS), changed) as (url, _):
        async with AsyncClient(url) as clip:
            await clip.pin()
            with pytest.raises(FingerprintChanged, match="toy@2"):
                await clip.embed_text("a", truncate=False)


async def test_a_form_of_many_fields_is_written_at_once() -> None:
    pieces = list[bytes]()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        pieces.extend([piece async for piece in request.stream])
        return httpx2.Response(200, content=b"{}")

    class Recorder(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            return await answer(request)

    form: dict[str, Any] = {
        "data": {"labels": [f"label {number}" for number in range(10)]},
        "files": {"image": b"bytes"},
    }
    async with Connection("http://testserver", transport=Recorder()) as connection:
        await connection.ask("POST", "/classify", Answer, **form)
    (written,) = pieces
    assert written.count(b"label ") == 10
