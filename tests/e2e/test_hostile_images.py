"""Hosts of images that send without an end what is no image: the service stays, and answers others meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.abuse import hostile_host, measure
from tests.support.process import LIGHT, Process, get, post


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    process = Process(image_hosts=f"{hostile_host.url()}=127.0.0.0/8", **LIGHT)
    process.wait_ready()
    yield process
    process.stop()


@pytest.mark.parametrize("path", ["/interim", "/headers", "/chunks"])
def test_a_host_that_sends_no_image_without_an_end_holds_up_nobody(process: Process, path: str) -> None:
    pid, body = process.popen.pid, {"images": [hostile_host.url() + path] * 16}
    get(f"{process.url}/livez")
    before, slowest = measure.resident(pid), 0.0
    measure.forget_peak(pid)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, f"{process.url}/embed", json=body)
        while not asked.done():
            began = time.monotonic()
            assert get(f"{process.url}/livez").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
    said, grown = asked.result().json(), measure.peak(pid) - before
    print(f"{path}: /livez {1000 * slowest:.0f} ms, memory {grown / 1e6:.0f} MB, {asked.result().elapsed}")
    assert said["code"] == "image_not_fetched"
    assert slowest < 0.5
    assert grown < 50_000_000
