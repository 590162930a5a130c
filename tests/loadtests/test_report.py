"""Reports, and the tables of the experiments."""

from __future__ import annotations

import pytest

from loadtests.fair import Pair, verdict
from loadtests.load import Answer, Load
from loadtests.measure import Result
from loadtests.observe import Observation
from loadtests.overload import Level, levels_table
from loadtests.report import results_table
from loadtests.scenarios import SCENARIOS

SEEN = Observation(2.5, 800_000_000, 900_000_000)


def load(latency: float = 0.1, count: int = 100, refused: int = 1) -> Load:
    answers = [Answer(i / 10, i / 10, latency * (i + 1) / count, 200, True) for i in range(count - refused)]
    answers += [Answer(9.9, 9.9, 0.004, 429, False)] * refused
    return Load(10.0, answers, client_cpu=0.0003)


def result(given: Load, seen: Observation = SEEN) -> Result:
    return Result(SCENARIOS["embed-640x480"], "closed, 8 clients", given, seen)


def test_each_run_is_a_row_also_one_without_any_answer() -> None:
    nothing = Load(1.0, [Answer(0.0, 0.0, 1.0, 0, False)], client_cpu=0.001)
    row, empty = results_table([result(load()), result(nothing, Observation())]).splitlines()[2:]
    assert row.startswith("| embed-640x480 | closed, 8 clients | 100 | 9.9 | 50 | 95 | 99 | 99 | 1 | 4 |")
    assert row.endswith("| 800 | 900 |")
    assert "| 1 | 0.0 | - | - | - | - |" in empty


def test_goodput_under_overload_is_what_came_in_time_as_a_share_of_the_peak() -> None:
    levels = [Level(2.0, 20.0, load(refused=refused), peak=10.0, deadline=10.0) for refused in (10, 30)]
    assert "| 2 | 20.0 | 8.0 | 0.80 |" in levels_table(levels)
    late = Level(2.0, 20.0, load(latency=20.0, refused=0), peak=10.0, deadline=10.0)
    assert late.goodput == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        pytest.param(load(0.25), "alone: 2.50 ", id="a ratio of percentiles"),
        pytest.param(load(refused=100), "none beside was answered", id="nobody was answered"),
    ],
)
def test_fairness_is_told(beside: Load, told: str) -> None:
    assert told in verdict([Pair(result(load(0.1)), result(beside), result(load(3.0)))])
