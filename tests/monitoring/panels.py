"""The queries of the dashboard as Grafana sends them, and which of them only promtool can be asked."""

from __future__ import annotations

from typing import NamedTuple


class Series(NamedTuple):
    """A series as promtool writes it, and the labels of what the query makes of it."""

    series: str  # its value is 0 at first, and one more each second
    labels: str
    value: float = 1.0  # after 300 s: of a rate 1


# By the title of the panel, with the reason why a service in a test gives no such series.
ASKED_OF_PROMTOOL = {
    # The stand-in for Triton in tests has no metrics of its own, and here are no GPUs.
    "Calls that wait in Triton": Series(
        'nv_inference_pending_request_count{job="triton", instance="t", model="m"}',
        '{instance="t", model="m"}',
        300,
    ),
    "Failures in Triton": Series(
        'nv_inference_request_failure{job="triton", instance="t", model="m", reason="BACKEND"}',
        '{instance="t", model="m", reason="BACKEND"}',
    ),
    "Use of the GPUs": Series('DCGM_FI_DEV_GPU_UTIL{UUID="GPU-0"}', '{gpu_uuid="GPU-0"}', 3),
    "Memory of the GPUs": Series('nv_gpu_memory_used_bytes{gpu_uuid="GPU-0"}', '{gpu_uuid="GPU-0"}', 300),
    "Errors of the GPUs": Series('DCGM_FI_DEV_XID_ERRORS{UUID="GPU-0"}', '{UUID="GPU-0"}', 300),
}


def as_asked(expression: str, rate_interval: str) -> str:
    """With all jobs and instances chosen."""
    for variable, value in (("job", ".*"), ("instance", ".*"), ("__rate_interval", rate_interval)):
        expression = expression.replace(f"${variable}", value)
    return expression
