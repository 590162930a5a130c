"""Shared by all tests: quiet logs, and the event loop that the service runs on."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from clipserve import concurrency
from clipserve.clip.images import configure_pillow
from clipserve.telemetry import log
from tests.support.logs import Log, logged

if TYPE_CHECKING:  # it loads the service
    from tests.support.process import Process

log.configure("CRITICAL")
configure_pillow()
# A shell starts what it runs in the background deaf to Ctrl-C, and every process below inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count()
# What is collected stays to the end: to search it for garbage again and again takes as long as to collect it.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is external runs where it is asked for: what it needs is not everywhere.

    And `make test-slow` reads only files with a slow test, because each of its processes would import all others.
    """
    if collection_path == Path(__file__).with_name("external"):
        return not any("external" in argument for argument in config.args)
    if config.option.markexpr.startswith("slow") and collection_path.match("test_*.py"):
        return "mark.slow" not in collection_path.read_text() or None
    return None


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A transport of uvloop is not quite one of asyncio: the service is tested on those it meets."""
    return {"uvloop": uvloop.new_event_loop}


class Beside(ThreadPoolExecutor):
    """A thread, such as that beside the event loop. `jobs`: how many were done in it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.jobs += 1
        return super().submit(*args, **kwargs)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    """The thread in which the test computes beside its event loop."""
    with Beside() as thread:
        # The process has one for all event loops, which counts nothing.
        monkeypatch.setattr(concurrency, "_side_thread", lambda: thread)
        yield thread


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is started here keeps nothing in the home directory. It is in the environment, so processes know it."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSERVE_STATE_DIR", str(folder / "shared"))
        patch.setenv("CLIPSERVE_CACHE_DIR", str(folder / "cache"))
        yield folder


@pytest.fixture(autouse=True)
def _own_state(_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a folder of its own, which is made when something is kept."""
    monkeypatch.setenv("CLIPSERVE_STATE_DIR", str(_state / str(next(_numbers))))


@pytest.fixture(scope="session")
def demo_process() -> Iterator[Process]:
    """The demo model on onnxruntime, for all tests that ask it and change nothing; a busy machine has its time."""
    from tests.support.process import PATIENT_WITH_CLIENTS, Process

    process = Process(backend="onnx", **PATIENT_WITH_CLIENTS)
    process.wait_ready()
    yield process
    status, log = process.stop()
    assert status == 0
    assert all(json.loads(line)["level"] == "info" for line in log.splitlines()), log


@pytest.fixture
async def toy(tmp_path: Path) -> Path:
    """The artifact of a model on arithmetic."""
    from tests.support.service import write_toy_artifact

    return await write_toy_artifact(tmp_path / "toy")


@pytest.fixture
def written() -> Iterator[Log]:
    """What is logged, which is nothing in a test that does not ask for it."""
    with logged("INFO") as log:
        yield log
