"""What one image takes, out of three runs: one client, as many as can be served, and few at a fixed rate."""

from __future__ import annotations

from dataclasses import replace

from loadtests.capacity.model import Costs
from loadtests.load import percentile
from loadtests.measure import Measurement, Result

_CROWD = 24  # clients that keep everything busy
_FEW = 0.1  # of what the crowd gets
_JITTER = 500  # factors kept


def measure(measurement: Measurement, cores: int, seconds: float) -> tuple[Costs, float]:
    """The costs, and the most requests a second."""
    alone, crowd = measurement.closed(seconds, 1), measurement.closed(seconds, _CROWD)
    # A request at a fixed rate takes more of the generator than one of a client that waits for its answer.
    few = measurement.open(_FEW * crowd.load.goodput(), seconds / 2)
    found = costs(alone, crowd, cores)
    return replace(found, client=max(found.client, few.load.client_cpu)), crowd.load.goodput()


def costs(alone: Result, crowd: Result, cores: int) -> Costs:
    """Of a gateway with its own encoders, which shares all `cores` with the generator of the load.

    A client alone waits for nothing: its latency is the sum of all that it takes. What of it
    neither the service states nor the client used is the loop's. With all cores busy a request takes cores / rate
    core seconds; what of these no other station takes is the encoder's, in calls of several rows:

        s(1) = call + row                  seconds of a call, measured alone
        x    = call / b + row              of a row in calls of b rows, measured in the crowd
    """
    decode = _seconds(alone, "decode") / len(alone.load.good)  # of the header and of the pixels
    one_row = _seconds(alone, "image") / _calls(alone)
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
        max_batch=round(rows),
        jitter=tuple(latency / usual for latency in alone.load.good[::step]),
    )


def _seconds(result: Result, name: str) -> float:
    """Of a stage, or of the calls of a tower, in the whole run."""
    metrics = result.observation.metrics
    assert metrics is not None, "the server has no operations port"
    stage = (metrics.stages | metrics.calls)[name]
    return stage.count * stage.mean_seconds


def _calls(result: Result) -> int:
    metrics = result.observation.metrics
    assert metrics is not None, "the server has no operations port"
    return metrics.calls["image"].count
