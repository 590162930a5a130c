"""Paths and methods: HEAD is GET without a body, and what does not exist is a problem like any other."""

from __future__ import annotations

import pytest

from tests.support.service import Running


@pytest.mark.parametrize("path", ["/livez", "/openapi.json", "/docs", "/docs/start.js", "/", "/page/main.js"])
async def test_head_is_get_without_the_body(running: Running, path: str) -> None:
    get = await running.client.get(path)
    head = await running.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    differing = {name for name, _ in head.headers.items() ^ get.headers.items()}
    assert differing <= {"connection", "date", "x-request-id"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/classify", "POST"),
        ("HEAD", "/embed", "POST"),
        ("POST", "/livez", "GET"),
        ("OPTIONS", "/readyz", "GET"),
        ("POST", "/", "GET"),
        ("POST", "/label-sets/pets", "DELETE, GET, PUT"),
    ],
)
async def test_a_wrong_method_is_told_which_are_right(
    running: Running, method: str, path: str, allowed: str
) -> None:
    answer = await running.client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["allow"] == allowed
    if method != "HEAD":
        body = answer.json()
        assert (body["code"], body["request_id"]) == ("method_not_allowed", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/v1", "/page", "/classify/x", "/%00", "/docs/1/2/3", "/embed/", "/livez%0d", "/%65mbed%2f"],
)
async def test_an_unknown_path_is_a_problem(running: Running, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await running.client.request(method, path)
        assert answer.status_code == 404, method
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert (body["code"], body["request_id"]) == ("not_found", answer.headers["x-request-id"])
