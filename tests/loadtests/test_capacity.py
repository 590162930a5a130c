"""The capacity model beside the formulas that it must agree with, and what is planned with it."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadtests.__main__ import cli
from loadtests.capacity import fit
from loadtests.capacity.model import Costs, Site, latencies
from loadtests.capacity.plan import Impossible, Plan, Promise, plan
from loadtests.capacity.stations import Clock, Cores
from loadtests.load import Answer, Load, percentile
from loadtests.measure import Result
from loadtests.observe import Observation
from loadtests.prometheus import ServerMetrics, Stage
from loadtests.scenarios import SCENARIOS

pytestmark = pytest.mark.slow  # simulations of tens of thousands of requests

NOTHING = Costs(client=0, loop=0, decode=0, call=0, row=0)
# The quantiles of an exponential distribution of mean 1, nearly.
EXPONENTIAL = tuple(-math.log((i + 0.5) / 2_000) for i in range(2_000))
PHOTO = Costs(client=0, loop=0.001, decode=0.005, call=0.004, row=0.002, max_batch=32)


@pytest.mark.parametrize("busy", [0.3, 0.5, 0.7])
def test_one_server_of_constant_time_waits_as_pollaczek_and_khinchine_say(busy: float) -> None:
    seconds = latencies(Site(cores=1), replace(NOTHING, decode=0.01), rate=busy * 100, requests=20_000)
    assert statistics.mean(seconds) == pytest.approx(0.01 * (1 + busy / (2 * (1 - busy))), rel=0.05)


def test_one_server_of_exponential_time_has_exponential_latencies() -> None:
    costs = replace(NOTHING, loop=0.01, jitter=EXPONENTIAL)
    seconds = latencies(Site(cores=4), costs, rate=50, requests=20_000)
    for share in (0.5, 0.9, 0.99):  # M/M/1: P(T > t) = exp(-(mu - lambda) t)
        assert percentile(seconds, share) == pytest.approx(-math.log(1 - share) / (100 - 50), rel=0.1)


def test_decoders_wait_as_erlang_says() -> None:
    costs = replace(NOTHING, decode=0.01, jitter=EXPONENTIAL)
    seconds = latencies(Site(cores=2), costs, rate=140, requests=40_000)
    offered, servers = 1.4, 2
    tail = offered**servers / math.factorial(servers) * servers / (servers - offered)
    waits = tail / (sum(offered**k / math.factorial(k) for k in range(servers)) + tail)  # Erlang's C
    assert statistics.mean(seconds) == pytest.approx(0.01 + waits / (200 - 140), rel=0.05)


def test_a_core_is_shared_by_weight_and_what_one_leaves_is_the_other_s() -> None:
    clock = Clock()
    ended: dict[str, float] = {}
    cores = Cores(clock, 1)
    cores.work(1.0, lambda: ended.update(heavy=clock.now), weight=1.0)
    cores.work(1.0, lambda: ended.update(light=clock.now), weight=1 / 3)
    clock.run()
    assert ended == {"heavy": pytest.approx(4 / 3), "light": pytest.approx(2.0)}


def test_threads_go_to_the_core_with_the_least_on_it() -> None:
    clock = Clock()
    ended: list[float] = []
    cores = Cores(clock, 2)
    for _ in range(3):
        cores.work(1.0, lambda: ended.append(clock.now))
    clock.run()
    assert ended == [pytest.approx(1.0), pytest.approx(1.5), pytest.approx(1.5)]


def test_a_wide_task_is_as_fast_as_its_slowest_thread() -> None:
    clock = Clock()
    ended: dict[str, float] = {}
    cores = Cores(clock, 4)
    cores.work(1.0, lambda: ended.update(narrow=clock.now))
    cores.work(1.0, lambda: ended.update(wide=clock.now), wide=True)
    clock.run()
    assert ended == {"narrow": pytest.approx(2.0), "wide": pytest.approx(2.0)}


def test_rows_that_wait_share_a_call() -> None:
    costs = replace(NOTHING, call=0.01, row=0.001, max_batch=32)
    rate = 300.0  # one by one it could do 91
    seconds = latencies(Site(devices=1), costs, rate)
    assert percentile(seconds, 0.99) < 0.05
    alone = latencies(Site(devices=1), replace(costs, max_batch=1), rate)
    assert percentile(alone, 0.99) > 1.0


def test_a_second_device_takes_its_part() -> None:
    costs = replace(NOTHING, row=0.01, max_batch=1)
    one, two = (percentile(latencies(Site(devices=count), costs, 90), 0.5) for count in (1, 2))
    assert two < one / 2


def met(promise: Promise, left: Site, costs: Costs = PHOTO) -> bool:
    return percentile(latencies(left, costs, promise.rate, 10_000), 0.99) <= promise.p99


@pytest.mark.parametrize("devices", [0, 1])
def test_the_fewest_pods_are_planned_that_keep_the_promise(devices: int) -> None:
    promise = Promise(rate=278, p99=0.05)
    found = plan(promise, Site(devices=devices), PHOTO)
    assert met(promise, found.left)
    assert not met(promise, replace(found.left, gateways=found.left.gateways - 1))
    assert (found.gateways, found.devices) == (found.left.gateways, found.left.devices)


def test_pods_that_may_be_away_are_planned_on_top() -> None:
    promise = Promise(rate=278, p99=0.05)
    found = plan(replace(promise, away=0.34), Site(), PHOTO)
    assert found.left == plan(promise, Site(), PHOTO).left
    assert found.gateways - math.ceil(0.34 * found.gateways) >= found.left.gateways
    assert found.gateways - 1 - math.ceil(0.34 * (found.gateways - 1)) < found.left.gateways


def test_a_promise_that_one_image_alone_breaks_is_refused() -> None:
    with pytest.raises(Impossible, match=r"takes 0\.012 s .* 0\.01 s is promised"):
        plan(Promise(rate=10, p99=0.01), Site(cores=1), PHOTO)


def test_a_promise_close_to_what_one_image_takes_is_refused() -> None:
    with pytest.raises(Impossible, match="too close to what one image takes alone"):
        plan(Promise(rate=100, p99=0.0121), Site(cores=1), PHOTO)


def run(latency: float, count: int, seconds: float, client_cpu: float, metrics: ServerMetrics) -> Result:
    answers = [Answer(0.0, 0.0, latency, 200, True)] * count
    load = Load(seconds, answers, client_cpu)
    return Result(SCENARIOS["embed-640x480"], "closed", load, Observation(metrics=metrics), 0)


def test_costs_are_found_again_in_what_they_lead_to() -> None:
    costs = Costs(
        client=0.0005, loop=0.001, decode=0.005, call=0.003, row=0.002, max_batch=4, jitter=(1.0,) * 10
    )
    alone = run(
        latency=0.0115,
        count=10,
        seconds=1.0,
        client_cpu=0.0005,
        metrics=ServerMetrics({}, {"decode": Stage(20, 0.0025)}, {}, {"image": Stage(10, 0.005)}),
    )
    of_each = 0.0065 / 2 + 0.003 / 4 + 0.002  # seconds of two cores, in calls of four rows
    crowd = run(0.1, 100, 100 * of_each, 0.0005, ServerMetrics({}, {}, {}, {"image": Stage(25, 0.02)}))
    found = asdict(fit.costs(alone, crowd, cores=2))
    assert found.pop("jitter") == costs.jitter
    assert found == pytest.approx({name: value for name, value in asdict(costs).items() if name in found})


def test_the_command_tells_how_much_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(asdict(PHOTO)))
    asked = ["capacity", str(file), "--rate", "278", "--p99", "0.05", "--away", "0.34"]
    told = CliRunner().invoke(cli, asked)
    expected: Plan = plan(Promise(278, 0.05, 0.34), Site(), PHOTO)
    assert f"| 278.0 | {expected.gateways} | {2 * expected.gateways} | - |" in told.output
    refused = CliRunner().invoke(cli, ["capacity", str(file), "--p99", "0.001"])
    assert refused.exit_code == 1
    assert "More pods do not change that" in str(refused.exception) + refused.output
