"""Scripts of pages from other origins: only those that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loadtests.fake_backend import FakeBackend
from tests.access.support import bearer, write_keys
from tests.support.service import DIM, Running, serving

HERE, ELSEWHERE = "https://app.example.com", "https://evil.example.com"
ALLOW = "access-control-allow-origin"


@pytest.fixture
async def shared(toy: Path, tmp_path: Path) -> AsyncIterator[Running]:
    """A service with a key, for pages of one origin."""
    key = write_keys(tmp_path / "keys", page={})["page"]
    settings: dict[str, Any] = {
        "keys_file": tmp_path / "keys",
        "cors_origins": (HERE, "http://localhost:3000"),
    }
    async with serving(FakeBackend(DIM), toy, **settings) as running:
        running.client.headers.update(bearer(key))
        yield running


PREFLIGHT = {
    "origin": HERE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-expect-fingerprint",
    "authorization": "",
}


async def test_a_preflight_needs_no_key_and_allows_the_header_of_one(shared: Running) -> None:
    answer = await shared.client.options("/embed", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers[ALLOW] == HERE
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST, PUT, DELETE"


@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        ("/embed", {}, 200),
        ("/embed", {"authorization": "Bearer clip_x"}, 401),
        ("/nowhere", {}, 404),
    ],
)
async def test_answers_and_errors_can_be_read_by_the_page(
    shared: Running, path: str, sent: dict[str, str], status: int
) -> None:
    for origin, allowed in ((HERE, HERE), (ELSEWHERE, None)):
        answer = await shared.client.post(path, json={"texts": ["a"]}, headers={"origin": origin} | sent)
        assert answer.status_code == status
        assert answer.headers.get(ALLOW) == allowed
        assert answer.headers["vary"] == "Origin"
    exposed = answer.headers["access-control-expose-headers"]
    assert exposed == "X-Request-Id, Server-Timing, Retry-After, X-Model-Fingerprint"


async def test_by_default_no_page_may_read_an_answer(running: Running) -> None:
    answer = await running.client.post("/embed", json={"texts": ["a"]}, headers={"origin": HERE})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]
    assert (await running.client.options("/embed", headers=PREFLIGHT)).status_code == 405
