"""What the service is and whether it serves, as metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from clipserve import __version__
from clipserve.telemetry.instruments import Instruments


class ServedModelInfo(NamedTuple):
    """What a metric says of a model, in the order of its labels."""

    model: str
    fingerprint: str
    engine: str
    precision: str


class StateMetrics:
    """`ready`, `draining` and the models are given their functions by whoever knows."""

    def __init__(self, make: Instruments) -> None:
        self._ready = make.gauge("ready", "1 while /readyz says ready, else 0.")
        self._draining = make.gauge("draining", "1 from the signal to end on, else 0.")
        make.gauge("build_info", "Always 1: the version that runs.", "version").labels(__version__).set(1)
        self._models: Callable[[], list[ServedModelInfo]] = list
        make.read(
            "model_info",
            "Always 1: a model that has started, its fingerprint, what computes it and in which precision.",
            ServedModelInfo._fields,
            lambda: [(info, 1.0) for info in self._models()],
        )

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """`ready` is called when somebody asks, in that thread; so are those below."""
        self._ready.set_function(ready)

    def watch(self, draining: Callable[[], bool], models: Callable[[], list[ServedModelInfo]]) -> None:
        """`models`: those that have started."""
        self._draining.set_function(draining)
        self._models = models
