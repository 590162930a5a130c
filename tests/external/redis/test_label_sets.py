"""Label sets of two services on one real Redis, which goes away and comes back."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_label_sets import version_at
from tests.label_sets import built
from tests.process import LIGHT, PATIENT, Process, get, put, waited_until
from tests.redis_server import RedisServer

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server"), reason="needs Debian's package redis-server"
)


def definition(generation: int) -> dict[str, Any]:
    return {"labels": [f"label {generation} {k}" for k in range(4)], "templates": [f"{generation} {{}}"]}


async def test_both_serve_what_is_put_at_either_and_without_redis_nothing_changes(
    redis: RedisServer, tmp_path: Path
) -> None:
    # A busy machine is no Redis that is away.
    shared: dict[str, Any] = {"label_set_store": "redis", "redis_url": redis.url, "store_seconds": 60}
    places = {"state_dir": str(tmp_path), "grpc_enabled": "false"}
    here, there = (Process(**LIGHT, **PATIENT, **places, **shared) for _ in range(2))
    for process in (here, there):
        process.wait_ready()
    version = built(here.url, "pets", definition(1))["version"]
    began = time.monotonic()
    waited_until(lambda: version_at(there) == version)
    print(f"{time.monotonic() - began:.2f} s later the other one serves it")
    for ending in (signal.SIGSTOP, signal.SIGKILL):
        redis.popen.send_signal(ending)
        time.sleep(1)  # both look for changes meanwhile
        for process in (here, there):
            assert version_at(process) == version
            assert get(process.url + "/readyz").status_code == 200
    redis.popen.wait()
    refused = put(f"{here.url}/label-sets/pets", json=definition(2))
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    redis.start()
    waited_until(lambda: put(f"{there.url}/label-sets/pets", json=definition(3)).is_success)
    version = built(there.url, "pets")["version"]
    waited_until(lambda: version_at(here) == version)
    assert [process.stop()[0] for process in (here, there)] == [0, 0]
    assert not list(tmp_path.iterdir()), "nothing is kept in a file"
