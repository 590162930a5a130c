"""Label sets of several processes on one store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.label_sets import built
from tests.process import LIGHT, PATIENT, Process, delete, post, put, waited_until
from tests.support import png

pytestmark = pytest.mark.slow


def service(folder: Path) -> Process:
    """A service whose state is in `folder`, ready."""
    process = Process(state_dir=str(folder), grpc_enabled="false", **LIGHT, **PATIENT)
    process.wait_ready()
    return process


def definition(generation: int) -> dict[str, Any]:
    return {
        "labels": [f"label {generation} {k}" for k in range(4)],
        "background": [f"other {generation}"],
        "templates": [f"{generation} {{}}"],
    }


def put_set(process: Process, name: str, body: dict[str, Any]) -> httpx.Response:
    return put(f"{process.url}/label-sets/{name}", json=body)


def classified(process: Process, name: str) -> httpx.Response:
    return post(
        f"{process.url}/classify?label_set={name}",
        content=png(),
        headers={"Content-Type": "image/png"},
    )


def version_at(process: Process, name: str) -> str | None:
    answer = classified(process, name)
    return answer.json()["label_sets"][0]["version"] if answer.status_code == 200 else None


def test_two_services_on_one_file_serve_what_is_put_at_either(tmp_path: Path) -> None:
    here, there = service(tmp_path), service(tmp_path)
    for number, (one, other) in enumerate(((here, there), (there, here), (here, there))):
        version = built(one.url, "pets", definition(number))["version"]
        began = time.monotonic()
        waited_until(lambda other=other, version=version: version_at(other, "pets") == version)  # type: ignore[misc]
        print(f"{time.monotonic() - began:.2f} s later the other one serves it")
    assert delete(f"{here.url}/label-sets/pets").status_code == 204
    waited_until(lambda: classified(there, "pets").status_code == 404)
    for process in (here, there):
        assert process.stop()[0] == 0
