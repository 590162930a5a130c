"""Label sets of two services on one folder."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.label_sets import built
from tests.process import LIGHT, PATIENT, Process, delete, post, waited_until
from tests.support import png


def version_at(process: Process) -> str | None:
    """The version that the service classifies by; None: there is no such set."""
    headers = {"Content-Type": "image/png"}
    answer = post(f"{process.url}/classify?label_set=pets", content=png(), headers=headers)
    return answer.json()["label_sets"][0]["version"] if answer.is_success else None


@pytest.mark.slow
def test_two_services_on_one_folder_serve_what_is_put_and_deleted_at_either(tmp_path: Path) -> None:
    services = [Process(state_dir=str(tmp_path), grpc_enabled="false", **LIGHT, **PATIENT) for _ in range(2)]
    for service in services:
        service.wait_ready()
    for one, other in (services, services[::-1]):
        version = built(one.url, "pets", {"labels": ["cat", f"put at {one.url}"]})["version"]
        began = time.monotonic()
        waited_until(lambda other=other, version=version: version_at(other) == version)  # type: ignore[misc]
        print(f"{time.monotonic() - began:.2f} s later the other one serves it")
    assert delete(f"{services[0].url}/label-sets/pets").status_code == 204
    waited_until(lambda: version_at(services[1]) is None)
    assert [service.stop()[0] for service in services] == [0, 0]
