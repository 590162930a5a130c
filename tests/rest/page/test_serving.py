"""GET /, its files and /docs come whole from this process. tests/external/browser looks at them with a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clipserve.clip.formats import FORMATS
from loadtests.fake_backend import FakeBackend
from tests.support.process import ROOT
from tests.support.service import DIM, Running, serving

STATIC = ROOT / "service" / "clipserve" / "rest" / "page" / "static"


async def test_the_page_names_only_files_that_are_served_beside_it(running: Running) -> None:
    page = await running.client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:href|src)="(?!#)([^"]+)"', page.text)
    assert {"page/main.js", "page/style.css", "docs"} <= set(named)
    for address in named:
        assert not address.startswith(("/", "http")), "it would leave a proxy's prefix"
        assert (await running.client.get(f"/{address}")).status_code == 200


async def test_every_module_that_is_imported_is_served(running: Running) -> None:
    seen, left = set(), {"main.js"}
    while left:
        name = left.pop()
        seen.add(name)
        answer = await running.client.get(f"/page/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        left |= (
            set(re.findall(r'^(?:import .* from | *import\()"\./([^"]+)"', answer.text, re.MULTILINE)) - seen
        )
    assert seen == {path.name for path in STATIC.glob("*.js")}


def test_every_format_that_a_setting_can_allow_may_be_chosen() -> None:
    accepted = re.search(r'ACCEPTED = "(.+)"', (STATIC / "pictures.js").read_text())
    assert accepted
    assert accepted[1] == ",".join(f"image/{name.lower()}" for name in FORMATS)


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/cat.jpg", "/docs"])
async def test_the_policy_allows_this_origin_alone_and_nothing_inline(running: Running, path: str) -> None:
    headers = (await running.client.get(path)).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_nothing_in_the_files_needs_what_the_policy_forbids() -> None:
    for path in STATIC.iterdir():
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text()
            assert not re.search(r'style="|<style|\son\w+="|javascript:|innerHTML|eval\(', text), path.name


async def test_a_file_that_has_not_changed_is_not_sent_again(running: Running) -> None:
    for path in ("/", "/page/main.js", "/docs"):
        first = await running.client.get(path)
        assert first.headers["cache-control"] == "no-cache"
        tag = first.headers["etag"]
        for had in (tag, f"W/{tag}", f'"other", {tag}'):
            again = await running.client.get(path, headers={"If-None-Match": had})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


@pytest.mark.parametrize("folder", ["page", "docs"])
@pytest.mark.parametrize("name", ["__init__.py", "nothing.js", "..%2Fpages.py", "page%2Findex.html", ""])
async def test_no_other_file_is_served(running: Running, folder: str, name: str) -> None:
    answer = await running.client.get(f"/{folder}/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_setting_turns_it_off(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, page=False) as running:
        for path in ("/", "/page/main.js"):
            answer = await running.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (await running.client.get("/docs")).status_code == 200


async def test_the_reference_and_all_it_names_come_from_this_service(running: Running) -> None:
    page = await running.client.get("/docs")
    named = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    named.remove("./")  # the way back to the page
    assert len(named) == 4
    for address in named:
        assert (await running.client.get(f"/{address}")).status_code == 200
