"""What the service is and whether it serves, as metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from clipserve import __version__
from clipserve.telemetry.collectors import ModelInfos, ServedModelInfo


class StateMetrics:
    """`ready` and `draining` are given their functions by whoever knows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ready = Gauge("clipserve_ready", "1 while /readyz says ready, else 0.", registry=registry)
        self._draining = Gauge(
            "clipserve_draining", "1 from the signal to end on, else 0.", registry=registry
        )
        self._models = ModelInfos()
        registry.register(self._models)
        build = Gauge(
            "clipserve_build_info", "Always 1: the version that runs.", ["version"], registry=registry
        )
        build.labels(__version__).set(1)

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """`ready` is called when somebody asks, in that thread; so are those below."""
        self._ready.set_function(ready)

    def watch(self, draining: Callable[[], bool], models: Callable[[], list[ServedModelInfo]]) -> None:
        """`models`: those that have started."""
        self._draining.set_function(draining)
        self._models.read = models
