"""Label sets of two services on one real Redis, which goes away and comes back."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_label_sets import definition, put_at_once, service, until, version_at
from tests.process import Process
from tests.redis_server import RedisServer

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(not shutil.which("redis-server"), reason="needs Debian's package redis-server"),
]

AWAY_SECONDS = 5


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    asyncio.run(server.answers())
    yield server
    server.kill()


def both_on(redis: RedisServer, folder: Path) -> tuple[Process, Process]:
    here, there = (service(folder, label_set_store="redis", redis_url=redis.url) for _ in range(2))
    return here, there


def test_what_is_put_at_one_service_is_served_at_the_other(redis: RedisServer, tmp_path: Path) -> None:
    here, there = both_on(redis, tmp_path)
    for number, (one, other) in enumerate(((here, there), (there, here))):
        version = httpx.put(f"{one.url}/label-sets/pets", json=definition(number)).json()["version"]
        until(lambda other=other, version=version: version_at(other, "pets") == version)  # type: ignore[misc]
    put_at_once(here, there)
    until(lambda: version_at(here, "pets") == version_at(there, "pets") is not None)
    assert not list(tmp_path.iterdir()), "nothing is kept in a file"
    for process in (here, there):
        assert process.stop()[0] == 0


def test_without_redis_sets_are_served_and_not_changed(redis: RedisServer, tmp_path: Path) -> None:
    here, there = both_on(redis, tmp_path)
    version = httpx.put(f"{here.url}/label-sets/pets", json=definition(1)).json()["version"]
    until(lambda: version_at(there, "pets") == version)
    redis.popen.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    while time.monotonic() - began < AWAY_SECONDS:
        for process in (here, there):
            assert version_at(process, "pets") == version
        refused = httpx.put(f"{here.url}/label-sets/pets", json=definition(2), timeout=30)
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        assert httpx.get(here.url + "/readyz").status_code == 200
    redis.popen.send_signal(signal.SIGCONT)
    until(lambda: httpx.put(f"{there.url}/label-sets/pets", json=definition(3)).status_code == 200)
    version = httpx.get(f"{there.url}/label-sets/pets").json()["version"]
    until(lambda: version_at(here, "pets") == version)
    for process in (here, there):
        assert process.stop()[0] == 0
