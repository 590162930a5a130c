"""Label sets over the life of processes: ends in the middle of a write, and several on one store."""

from __future__ import annotations

import random
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from clipserve.application.label_sets.definition import Record, digest_of
from tests.label_sets import built
from tests.process import LIGHT, PATIENT, Process, delete, get, post, put, waited_until
from tests.support import png

pytestmark = pytest.mark.slow

PUTS = 10  # in each round
NAMES = ("pets", "moods", "tools", "trees")


def service(folder: Path) -> Process:
    """A service whose state is in `folder`, ready."""
    process = Process(state_dir=str(folder), grpc_enabled="false", **LIGHT, **PATIENT)
    process.wait_ready()
    return process


def definition(generation: int) -> dict[str, Any]:
    """Every part of it tells its generation."""
    return {
        "labels": [f"label {generation} {k}" for k in range(4)],
        "background": [f"other {generation}"],
        "templates": [f"{generation} {{}}"],
    }


def generation_of(state: dict[str, Any]) -> int:
    """The generation of all its parts, which is one."""
    parts = {int(each["label"].split()[1]) for each in state["labels"]}
    parts |= {int(state["background"][0].split()[1]), int(state["templates"][0].split()[0])}
    (generation,) = parts
    return generation


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


@pytest.mark.parametrize("rounds", [2, pytest.param(5, marks=pytest.mark.nightly)])
def test_a_kill_in_the_middle_of_puts_leaves_each_set_old_or_new(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(7)
    put, asked = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)
    for round_ in range(rounds):
        process = service(tmp_path)
        for number in range(PUTS):
            name = NAMES[number % len(NAMES)]
            generation = 1 + round_ * PUTS + number
            last = number == PUTS - 1
            if last:
                threading.Timer(
                    chance.uniform(0.0, 0.05), process.popen.send_signal, [signal.SIGKILL]
                ).start()
            asked[name] = generation
            try:
                answer = put_set(process, name, definition(generation))
            except httpx.TransportError:
                assert last
                break
            assert answer.status_code in (200, 202), "stored, and built too if that took no two seconds"
            put[name] = generation
        process.popen.wait(60)
        _no_set_is_half(tmp_path)
    process = service(tmp_path)
    for name in NAMES:
        waited_until(lambda name=name: _state(process, name)["state"] == "ready")  # type: ignore[misc]
        state = _state(process, name)
        assert put[name] <= generation_of(state) <= asked[name]
        labels = classified(process, name).json()["results"][0]["labels"]
        assert {int(each["label"].split()[1]) for each in labels} == {generation_of(state)}
    assert process.stop()[0] == 0


def _state(process: Process, name: str) -> dict[str, Any]:
    answer = get(f"{process.url}/label-sets/{name}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def _no_set_is_half(folder: Path) -> None:
    """In the files themselves: what is wanted is there, and what is served until then."""
    for path in (folder / "label-sets").glob("[!.]*"):
        if path.suffix == ".npy":
            assert np.load(path, allow_pickle=False).dtype.names == ("vector", "truncated")
            continue
        record = Record.model_validate_json(path.read_bytes())
        assert digest_of(record.definition.to_bytes()) == record.digest
        assert record.former is None or digest_of(record.former.definition.to_bytes()) == record.former.digest
        assert len({label.label.split()[1] for label in record.definition.labels}) == 1


def test_two_services_on_one_file_serve_what_is_put_at_either(tmp_path: Path) -> None:
    here, there = service(tmp_path), service(tmp_path)
    for number, (one, other) in enumerate(((here, there), (there, here), (here, there))):
        version = built(one.url, "pets", definition(number))["version"]
        waited_until(lambda other=other, version=version: version_at(other, "pets") == version)  # type: ignore[misc]
    put_at_once(here, there)
    waited_until(lambda: version_at(here, "pets") == version_at(there, "pets") is not None)
    assert delete(f"{here.url}/label-sets/pets").status_code == 204
    waited_until(lambda: classified(there, "pets").status_code == 404)
    for process in (here, there):
        assert process.stop()[0] == 0


def put_at_once(*processes: Process) -> None:
    """Sixteen definitions of one name, at two services; then the one that is kept is whole."""
    statuses: list[int] = []

    def put(process: Process, generation: int) -> None:
        answer = put_set(process, "pets", definition(generation))
        statuses.append(answer.status_code)
        generation_of(answer.json())

    threads = [threading.Thread(target=put, args=(processes[i % 2], 100 + i)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 202}
    assert len(statuses) == 16
