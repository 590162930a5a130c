"""/docs comes whole from this process. tests/browser looks at it with a browser."""

from __future__ import annotations

import re

from tests.support import Running


async def test_the_page_and_all_it_names_come_from_this_service(running: Running) -> None:
    page = await running.client.get("/docs")
    named = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(named) == 5
    named.remove("./")  # the way back to the page
    for address in named:
        assert "//" not in address
        file = await running.client.get(f"/{address}")
        assert file.status_code == 200
        assert file.headers["x-request-id"], "it passed by the middleware"
    kept = [address for address in named if not address.endswith("start.js")]
    for address in kept:
        headers = (await running.client.get(f"/{address}")).headers
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert page.headers["cache-control"] == "no-cache"


async def test_the_policy_names_no_host_and_no_inline_script(running: Running) -> None:
    policy = (await running.client.get("/docs")).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_only_the_files_of_this_version_are_served(running: Running) -> None:
    page = (await running.client.get("/docs")).text
    version = re.findall(r"docs/([\d.]+)/", page)[0]
    for address in (
        f"{version}/__init__.py",
        f"{version}/..%2F__init__.py",
        "0.0.0/swagger-ui.css",
        "swagger-ui.css",
    ):
        answer = await running.client.get(f"/docs/{address}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), address
