"""Reports, and the tables of the experiments."""

from __future__ import annotations

import math

import pytest

from loadtests.fair import Pair, verdict
from loadtests.load import Answer, Load
from loadtests.measure import Result
from loadtests.observe import Observation
from loadtests.overload import Level, levels_table
from loadtests.report import machine_facts, ms, results_table
from loadtests.scenarios import SCENARIOS

SEEN = Observation(2.5, 800_000_000, 900_000_000)


def load(latency: float = 0.1, count: int = 100, refused: int = 1) -> Load:
    answers = [Answer(i / 10, i / 10, latency * (i + 1) / count, 200, True) for i in range(count - refused)]
    answers += [Answer(9.9, 9.9, 0.004, 429, False)] * refused
    return Load(10.0, answers, client_cpu=0.0003)


def result(given: Load | None = None, seen: Observation = SEEN) -> Result:
    return Result(SCENARIOS["embed-640x480"], "closed, 8 clients", given or load(), seen)


def test_each_run_is_a_row() -> None:
    row = results_table([result()]).splitlines()[2]
    assert row.startswith("| embed-640x480 | closed, 8 clients | 100 | 9.9 |")
    assert row.endswith("| 800 | 900 |")


def test_a_run_without_any_answer_is_a_row_too() -> None:
    nothing = Load(1.0, [Answer(0.0, 0.0, 1.0, 0, False)], client_cpu=0.001)
    assert "| 1 | 0.0 | - | - | - | - |" in results_table([result(nothing, Observation())])


def test_milliseconds_are_short() -> None:
    assert [ms(None), ms(math.nan)] == ["-", "-"]
    assert [ms(seconds) for seconds in (0.00012, 0.0123, 0.1234, 1.5)] == ["0.12", "12.3", "123", "1,500"]


def test_goodput_under_overload_is_told_as_a_share_of_the_peak() -> None:
    level = Level(2.0, 20.0, load(refused=10), peak=10.0, deadline=10.0)
    assert level.goodput == pytest.approx(9.0)
    table = levels_table([level, Level(2.0, 20.0, load(refused=30), peak=10.0, deadline=10.0)])
    assert "| 2 | 20.0 | 8.0 | 0.80 |" in table
    assert "| target at 2 |" in table


def test_answers_after_the_deadline_are_no_goodput() -> None:
    late = Level(2.0, 20.0, load(latency=20.0, refused=0), peak=10.0, deadline=10.0)
    assert late.goodput == pytest.approx(5.0)


def test_fairness_is_a_ratio_of_percentiles() -> None:
    pair = Pair(result(load(0.1)), result(load(0.25)), result(load(3.0)))
    assert pair.ratio == pytest.approx(2.5)
    assert "alone: 2.50 " in verdict([pair])


def test_fairness_says_when_nobody_was_answered() -> None:
    pair = Pair(result(), result(load(refused=100)), result())
    assert "none beside was answered" in verdict([pair])


def test_the_machine_is_known() -> None:
    facts = machine_facts()
    assert int(facts["cores"]) >= 1
    assert facts["onnxruntime"][0].isdigit()
    assert "GiB" in facts["memory"]
