"""A real Prometheus beside real services: every query of the dashboard returns data, and alerts fire.

Two jobs: `clipserve`, with encoders of arithmetic, and `gateway`, in front of two stand-ins for Triton. The tests
follow each other as on one day, and the last leaves Triton dead.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clipserve.demo import FOLDER as DEMO
from tests.monitoring import load
from tests.monitoring.files import queries
from tests.monitoring.panels import ASKED_OF_PROMTOOL, as_asked
from tests.monitoring.server import FASTER, SCRAPE_MILLISECONDS, Prometheus, faster_expression, prometheus
from tests.support.fake_triton import FakeTriton, fake_triton
from tests.support.process import Process

_SECONDS = 300.0  # in which something must happen that takes 30 at most
_USUAL_SECONDS = 300 / FASTER  # five minutes
_RATE_INTERVAL = f"{4 * SCRAPE_MILLISECONDS}ms"  # Grafana's own: four scrapes


class SlowService(Process):
    module = "tests.monitoring.slow_service"


@dataclass
class Stage:
    """All that runs. `jobs`: what Prometheus scrapes, host:port by job."""

    prometheus: Prometheus
    tritons: list[FakeTriton]
    clipserve: Process
    gateway: Process
    jobs: dict[str, list[str]] = field(default_factory=dict)

    def scrape(self, job: str, process: Process) -> None:
        self.jobs.setdefault(job, []).append(process.operations_url.removeprefix("http://"))
        self.prometheus.scrape(self.jobs)

    @contextmanager
    def used(self) -> Iterator[None]:
        """As usual, at both."""
        with (
            load.asking(self.clipserve.url, load.embed, load.classify, load.use_a_label_set),
            load.asking(self.gateway.url, load.embed, load.classify),
        ):
            yield

    def until_scraped(self) -> None:
        """Prometheus knows that all are ready. Until its first scrape it has told, rightly, that nobody is."""
        instances = float(sum(map(len, self.jobs.values())))
        end = time.monotonic() + _SECONDS
        while self.prometheus.query("sum(clipserve_ready)") != [instances] or self.prometheus.firing():
            assert time.monotonic() < end, self.prometheus.firing()
            time.sleep(0.2)

    def until_firing(self, *alerts: tuple[str, str]) -> None:
        """(alert, job), all at one time."""
        end = time.monotonic() + _SECONDS
        while not {*alerts} <= (firing := self.prometheus.firing()):
            assert time.monotonic() < end, f"{firing} fire, and not all of {alerts}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("monitoring")
    with ExitStack() as stack:
        tritons = [stack.enter_context(fake_triton(DEMO)) for _ in range(2)]
        gateway = Process(
            backend="triton",
            models=str(tritons[0].artifact),
            triton_url=",".join(triton.url for triton in tritons),
            state_dir=str(folder / "gateway"),
            silent_seconds=60,  # a stand-in that waits for a core is not gone
        )
        stack.callback(_end, gateway)
        clipserve = SlowService(
            models=str(DEMO), max_queue_seconds="0.3", state_dir=str(folder / "clipserve")
        )
        stack.callback(_end, clipserve)
        # It is up to five seconds before Prometheus knows of them, and they take as long to start.
        made = Stage(stack.enter_context(prometheus(folder)), tritons, clipserve, gateway)
        made.scrape("clipserve", clipserve)
        made.scrape("gateway", gateway)
        for process in (gateway, clipserve):
            process.wait_ready(_SECONDS)
        made.until_scraped()
        yield made


def test_in_usual_use_nothing_of_what_is_below_fires(stage: Stage) -> None:
    """For five of the faster minutes on end: a machine that stands still meanwhile may be told of."""
    wrong = {
        "ClipserveErrorBudget",
        "ClipserveFingerprintsMixed",
        "ClipserveNobodyReady",
        "ClipserveRefuses",
        "ClipserveTritonGone",
    }
    began = fired_at = time.monotonic()
    with stage.used():
        while time.monotonic() - fired_at < _USUAL_SECONDS:
            if fired := wrong & {alert for alert, _ in stage.prometheus.firing()}:
                fired_at = time.monotonic()
                assert fired_at - began < _SECONDS, fired
            time.sleep(0.2)


def test_under_load_every_query_of_the_dashboard_returns_data(stage: Stage) -> None:
    missing = {query for query in queries() if query.panel not in ASKED_OF_PROMTOOL}
    end = time.monotonic() + _SECONDS
    with stage.used(), load.asking(stage.clipserve.url, *[load.press] * 12, load.leave, pause=0.05):
        _kill_a_child(stage.clipserve)  # which decodes images
        while missing and time.monotonic() < end:
            for query in [*missing]:
                if stage.prometheus.query(as_asked(faster_expression(query.expression), _RATE_INTERVAL)):
                    missing.remove(query)
    assert {query.panel for query in missing} == set()


def test_overload_fires(stage: Stage) -> None:
    with stage.used(), load.asking(stage.clipserve.url, *[load.press] * 12, pause=0.05):
        stage.until_firing(("ClipserveRefuses", "clipserve"))


def test_two_fingerprints_of_one_model_fire(stage: Stage) -> None:
    other = SlowService(models=str(DEMO), exif_transpose="false")
    try:
        stage.scrape("clipserve", other)
        other.wait_ready(_SECONDS)
        stage.until_firing(("ClipserveFingerprintsMixed", "clipserve"))
    finally:
        _end(other)


def test_triton_gone_fires_and_so_does_the_budget_of_errors_that_it_burns(stage: Stage) -> None:
    with stage.used():
        for triton in stage.tritons:
            os.kill(triton.pid, signal.SIGKILL)
        stage.until_firing(("ClipserveTritonGone", "gateway"), ("ClipserveErrorBudget", "gateway"))


def _end(process: Process) -> None:
    process.popen.terminate()
    process.ended()


def _kill_a_child(process: Process) -> None:
    children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
