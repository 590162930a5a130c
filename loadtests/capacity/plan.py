"""How much is needed: the fewest gateways and devices that keep a promise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from loadtests.capacity.model import Costs, Site, latencies
from loadtests.load import percentile

_PLENTY = 4  # times the gateways that could just do it: nothing waits long for one of so many
_REQUESTS = 10_000  # of a simulation: 90 of them are beyond the 99th percentile
_MOST = 4  # times the pods that could just do it, after which no more are tried


class Impossible(Exception):
    """No number of pods keeps the promise; the message says why."""


@dataclass(frozen=True)
class Promise:
    """`rate` images a second, 99 % of them within `p99` seconds, also while a share of the pods is `away`."""

    rate: float
    p99: float
    away: float = 0.0

    def whole(self, left: int) -> int:
        """The fewest pods of which so many are left, when as many are away as may be."""
        count = left
        while count - math.ceil(round(count * self.away, 6)) < left:
            count += 1
        return count


@dataclass(frozen=True)
class Plan:
    """`gateways`, `devices`: all pods. `p50`, `p99`: seconds, while some are away and `left` is all there is."""

    gateways: int
    devices: int
    left: Site
    p50: float
    p99: float


def plan(promise: Promise, pod: Site, costs: Costs) -> Plan:
    """The fewest devices, then the fewest gateways.

    `pod`: a site of one gateway, and of one device unless gateways have their own encoders.

    Raises:
        Impossible: see there.
    """
    _check_alone(promise, pod, costs)
    left = pod
    if pod.devices:
        roomy = replace(pod, gateways=_PLENTY * _least(promise.rate * _of_gateway(pod, costs)))
        left = replace(pod, devices=_fewest(promise, roomy, costs, "devices").devices)
    left = _fewest(promise, left, costs, "gateways")
    seconds = latencies(left, costs, promise.rate, _REQUESTS)
    return Plan(
        promise.whole(left.gateways),
        promise.whole(left.devices) if left.devices else 0,
        left,
        percentile(seconds, 0.5),
        percentile(seconds, 0.99),
    )


def _check_alone(promise: Promise, pod: Site, costs: Costs) -> None:
    rare = 0.001 / (_of_gateway(pod, costs) + costs.call + costs.row)
    alone = percentile(latencies(pod, costs, rare, 2_000), 0.99)
    if alone > promise.p99:
        raise Impossible(
            f"An image that waits for nothing takes {alone:.3f} s at the 99th percentile, and {promise.p99:g} s is "
            "promised. More pods do not change that: use faster ones, a smaller model or smaller images."
        )


def _fewest(promise: Promise, site: Site, costs: Costs, kind: str) -> Site:
    """`site` with the fewest pods of this kind that keep the promise."""
    share = _of_gateway(site, costs) if kind == "gateways" else costs.row + costs.call / costs.max_batch
    least = _least(promise.rate * share)
    for count in range(least, _MOST * least + 1):
        tried = replace(site, **{kind: count})
        if percentile(latencies(tried, costs, promise.rate, _REQUESTS), 0.99) <= promise.p99:
            return tried
    raise Impossible(
        f"{_MOST * least} {kind} do not keep {promise.p99:g} s at {promise.rate:g} images a second, and "
        f"{least} could just do the work: the time is too close to what one image takes alone."
    )


def _least(busy: float) -> int:
    return math.floor(busy) + 1


def _of_gateway(pod: Site, costs: Costs) -> float:
    """Seconds that one image takes of a whole gateway, in full batches: of its cores, or of its loop."""
    cores = costs.client + costs.loop + costs.decode
    own = 0.0 if pod.devices else costs.row + costs.call / costs.max_batch
    return max(cores / pod.cores + own, costs.loop)
