"""The queries of the dashboard as Grafana sends them, and which of them only promtool can be asked."""

from __future__ import annotations

from typing import NamedTuple


class Series(NamedTuple):
    """A series as promtool writes it, and the labels of what the query makes of it."""

    series: str
    labels: str


# By the title of the panel, with the reason why a service in a test gives no such series.
ASKED_OF_PROMTOOL = {
    # The stand-in for Triton in tests keeps no statistics.
    "Triton's own time": Series(
        'clipserve_triton_phase_seconds_total{job="j", instance="i", endpoint="t:8001", model="m", phase="queue"}',
        '{model="m", phase="queue"}',
    ),
}


def as_asked(expression: str, rate_interval: str) -> str:
    """With all jobs and instances chosen."""
    for variable, value in (("job", ".*"), ("instance", ".*"), ("__rate_interval", rate_interval)):
        expression = expression.replace(f"${variable}", value)
    return expression
