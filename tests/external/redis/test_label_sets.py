"""Label sets of two services on one real Redis, which goes away and comes back."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.label_sets import built
from tests.process import PATIENT, Process, get, post, put, waited_until
from tests.redis_server import RedisServer
from tests.support import png

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server"), reason="needs Debian's package redis-server"
)


class Slow(Process):
    """Its encoders take the same time on any machine, and hardly any CPU: 800 prompts a second at most."""

    module = "tests.monitoring.slow_service"

    def __init__(self, folder: Path, **settings: Any) -> None:
        mine: dict[str, Any] = {"state_dir": str(folder), "max_batch_texts": 16, "grpc_enabled": "false"}
        super().__init__(**PATIENT, **mine, **settings)


def definition(generation: int) -> dict[str, Any]:
    return {
        "labels": [f"label {generation} {k}" for k in range(4)],
        "background": [f"other {generation}"],
        "templates": [f"{generation} {{}}"],
    }


def put_set(process: Process, name: str, body: dict[str, Any]) -> httpx.Response:
    return put(f"{process.url}/label-sets/{name}", json=body)


def classified(process: Process, name: str) -> httpx.Response:
    headers = {"Content-Type": "image/png"}
    return post(f"{process.url}/classify?label_set={name}", content=png(), headers=headers)


def version_at(process: Process, name: str) -> str | None:
    answer = classified(process, name)
    return answer.json()["label_sets"][0]["version"] if answer.status_code == 200 else None


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    asyncio.run(server.answers())
    yield server
    server.kill()


@pytest.fixture(scope="module")
def both(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Process]]:
    """Two services on it. All tests use them, each with sets of its own generation."""
    folder = tmp_path_factory.mktemp("state")
    # A busy machine is no Redis that is away.
    shared: dict[str, Any] = {"label_set_store": "redis", "redis_url": redis.url, "store_seconds": 60}
    here, there = Slow(folder, **shared), Slow(folder, **shared)
    for process in (here, there):
        process.wait_ready()
    yield here, there
    assert not list(folder.iterdir()), "nothing is kept in a file"
    for process in (here, there):
        assert process.stop()[0] == 0


def test_a_large_set_is_built_at_one_service_and_served_by_both(both: tuple[Process, Process]) -> None:
    """It takes ten seconds; after a minute the other one would build it too."""
    body = {"labels": [f"thing {k}" for k in range(100)], "templates": ["imagenet-80"]}
    version = put_set(both[0], "large", body).json()["version"]
    waited_until(lambda: is_ready(both[0], "large"), 600)
    began = time.monotonic()
    waited_until(lambda: is_ready(both[1], "large"), 600)
    print(f"{time.monotonic() - began:.2f} s later the other one serves it")
    assert [version_at(process, "large") for process in both] == [version] * 2
    answers = [classified(process, "large").json()["results"] for process in both]
    assert answers[0] == answers[1]


def test_without_redis_sets_are_served_and_not_changed(
    both: tuple[Process, Process], redis: RedisServer
) -> None:
    here, there = both
    version = built(here.url, "pets", definition(1))["version"]
    waited_until(lambda: version_at(there, "pets") == version)
    for ending in (signal.SIGSTOP, signal.SIGKILL):
        redis.popen.send_signal(ending)
        time.sleep(1)  # both look for changes meanwhile
        for process in (here, there):
            assert version_at(process, "pets") == version
            assert get(process.url + "/readyz").status_code == 200
    redis.popen.wait()
    refused = put(f"{here.url}/label-sets/pets", json=definition(2))
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    redis.start()
    waited_until(lambda: put(f"{there.url}/label-sets/pets", json=definition(3)).is_success)
    version = built(there.url, "pets")["version"]
    waited_until(lambda: version_at(here, "pets") == version)


def is_ready(process: Process, name: str) -> bool:
    states = get(process.url + "/label-sets").json()["label_sets"]
    return any((state["name"], state["state"]) == (name, "ready") for state in states)
