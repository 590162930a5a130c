"""From a repository's name to the first answer, from nothing, in an environment without PyTorch."""

from __future__ import annotations

import importlib.util
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.hub.repositories import LAYOUTS
from tests.process import LIGHT, ROOT, Fresh

pytestmark = pytest.mark.slow


class Largest:
    """The peak of the largest process among a service and those that it has started, in MB, until `stop`."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._pid, self._over = pid, Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self.megabytes

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for pid in descendants(self._pid):
                with suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                    kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
                    self.megabytes = max(self.megabytes, kibibytes * 1024 / 1e6)


def descendants(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def first_answer(name: str) -> tuple[float, float, str]:
    """Seconds from the start to an answer, megabytes of the largest process, and the fingerprint."""
    started = time.monotonic()
    service = Fresh(models=name, **LIGHT)
    largest = Largest(service.popen.pid)
    service.wait_ready(300)
    answer = httpx.post(
        service.url + "/classify",
        files={"image": (ROOT / "docs/cat.jpg").read_bytes()},
        data={"labels": ["a cat", "a dog"], "model": name},
        timeout=60,
    )
    seconds, megabytes = time.monotonic() - started, largest.stop()
    assert answer.status_code == 200, answer.text
    assert service.stop()[0] == 0
    return seconds, megabytes, str(answer.json()["fingerprint"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repository_is_served_by_its_name(layout: str, hub: LocalHub, tmp_path: Path) -> None:
    assert importlib.util.find_spec("torch") is None
    LAYOUTS[layout](tmp_path / "repository")
    hub.repos["org/name"] = Repo.of(tmp_path / "repository")
    seconds, megabytes, fingerprint = first_answer("org/name")
    hub.repos.clear()
    again, _, same = first_answer("org/name")  # without a hub
    print(f"{layout}: {seconds:.1f} s, then {again:.1f} s; the largest process had {megabytes:.0f} MB")
    assert fingerprint == same
    assert fingerprint.startswith("org--name@fp32-")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["org--name"]
