"""The metrics of label sets."""

from __future__ import annotations

from collections.abc import Mapping

from clipserve.telemetry.instruments import Instruments

_BUILD_SECONDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0)


class LabelSetMetrics:
    """How many there are, how they are built and used."""

    def __init__(self, make: Instruments) -> None:
        self._states = make.gauge(
            "label_sets",
            "Label sets known here, by state: ready, building (an older version may be served), failed.",
            "state",
        )
        self._builds = make.counter(
            "label_set_builds_total", "Builds of label sets that have ended, by outcome.", "outcome"
        )
        self._build_seconds = make.histogram_of(
            "label_set_build_seconds", "Duration of a build that has succeeded.", buckets=_BUILD_SECONDS
        )
        self._used = make.count(
            "label_sets_used_total", "Classifications by a label set: its labels were encoded already."
        )

    def states(self, by_state: Mapping[str, int]) -> None:
        for state, count in by_state.items():
            self._states.labels(state).set(count)

    def built(self, outcome: str, seconds: float) -> None:
        """`outcome`: ok, or the code of an error."""
        self._builds(outcome).inc()
        if outcome == "ok":
            self._build_seconds.observe(seconds)

    def used(self, count: int) -> None:
        self._used.inc(count)
