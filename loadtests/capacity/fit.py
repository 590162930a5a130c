"""What one image takes, out of two runs: one client, and as many as the machine can serve."""

from __future__ import annotations

from loadtests.capacity.model import Costs
from loadtests.load import percentile
from loadtests.measure import Measurement, Result

_CROWD = 24  # clients that keep everything busy
_JITTER = 500  # factors kept


def measure(measurement: Measurement, cores: int, seconds: float) -> tuple[Costs, float]:
    """The costs, and the most requests a second."""
    alone, crowd = measurement.closed(seconds, 1), measurement.closed(seconds, _CROWD)
    return costs(alone, crowd, cores), crowd.load.goodput()


def costs(alone: Result, crowd: Result, cores: int) -> Costs:
    """Of a gateway with its own encoders, which shares all `cores` with the generator of the load.

    One client alone waits for nothing: its latency is the sum of all that it takes. What the service does not
    state of it, nor the client used, is the loop's. With all cores busy a request takes cores / rate core seconds;
    what of these no other station takes is the encoder's, in calls of several rows:

        s(1) = call + row                  seconds of a call, measured alone
        x    = call / b + row              of a row in calls of b rows, measured in the crowd
    """
    decode, one_row = _mean(alone, "decode"), _mean(alone, "image")
    client = alone.load.client_cpu
    usual = percentile(alone.load.good, 0.5)
    loop = max(0.0, usual - decode - one_row - client)
    rows = len(crowd.load.good) / _calls(crowd)
    of_a_row = max(0.0, (cores / crowd.load.goodput() - client - loop - decode) / cores)
    call = (one_row - of_a_row) / (1 - 1 / rows) if rows > 1 else 0.0
    call = min(max(call, 0.0), one_row)
    step = max(1, len(alone.load.good) // _JITTER)
    return Costs(
        client=client,
        loop=loop,
        decode=decode,
        call=call,
        row=one_row - call,
        jitter=tuple(latency / usual for latency in alone.load.good[::step]),
    )


def _mean(result: Result, name: str) -> float:
    """Seconds of a stage, or of a call of a tower."""
    metrics = result.observation.metrics
    assert metrics is not None, "the server has no operations port"
    return (metrics.stages | metrics.calls)[name].mean_seconds


def _calls(result: Result) -> int:
    metrics = result.observation.metrics
    assert metrics is not None, "the server has no operations port"
    return metrics.calls["image"].count
