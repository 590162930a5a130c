"""Label sets of two services on one real Redis, which goes away and comes back."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.label_sets import built
from tests.support.process import LIGHT, PATIENT, Process, get, post, put, waited_until
from tests.support.redis_server import RedisServer
from tests.support.service import png

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server"), reason="needs Debian's package redis-server"
)


NEW = {"labels": ["glad", "sad"]}


def version_at(process: Process) -> str | None:
    """The version that the service classifies by; None: there is no such set."""
    headers = {"Content-Type": "image/png"}
    answer = post(f"{process.url}/classify?label_set=pets", content=png(), headers=headers)
    return answer.json()["label_sets"][0]["version"] if answer.is_success else None


def put_at_each(*services: Process) -> str:
    """The version that both services serve in the end."""
    for one, other in (services, services[::-1]):
        version: str = built(one.url, "pets", {"labels": ["cat", f"put at {one.url}"]})["version"]
        began = time.monotonic()
        waited_until(lambda other=other, version=version: version_at(other) == version)  # type: ignore[misc]
        print(f"{time.monotonic() - began:.2f} s later the other one serves it")
    return version


async def test_both_serve_what_is_put_at_either_and_without_redis_nothing_changes(
    redis: RedisServer, tmp_path: Path
) -> None:
    # A busy machine is no Redis that is away.
    shared: dict[str, Any] = {"label_set_store": "redis", "redis_url": redis.url, "store_seconds": 60}
    places = {"state_dir": str(tmp_path), "grpc_enabled": "false"}
    here, there = (Process(**LIGHT, **PATIENT, **places, **shared) for _ in range(2))
    for process in (here, there):
        process.wait_ready()
    version = put_at_each(here, there)
    for ending in (signal.SIGSTOP, signal.SIGKILL):
        redis.popen.send_signal(ending)
        time.sleep(1)  # both look for changes meanwhile
        for process in (here, there):
            assert version_at(process) == version
            assert get(process.url + "/readyz").status_code == 200
    redis.popen.wait()
    refused = put(f"{here.url}/label-sets/pets", json=NEW)
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    redis.start()
    waited_until(lambda: put(f"{there.url}/label-sets/pets", json=NEW).is_success)
    version = built(there.url, "pets")["version"]
    waited_until(lambda: version_at(here) == version)
    assert [process.stop()[0] for process in (here, there)] == [0, 0]
    assert not list(tmp_path.iterdir()), "nothing is kept in a file"
