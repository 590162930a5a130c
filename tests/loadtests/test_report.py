"""Reports, and the tables of the experiments."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from loadtests.fair import Pair, pairs_table
from loadtests.load import Answer, Load
from loadtests.measure import Result
from loadtests.observe import Memory, Observation
from loadtests.overload import Level, levels_table
from loadtests.report import Report, as_html, machine_facts, ms, results_table, write
from loadtests.scenarios import SCENARIOS

MEMORY = [Memory(0.0, 700_000_000, 1.0, 900_000_000), Memory(1.0, 800_000_000, 2.5, 950_000_000)]
SEEN = Observation(2.5, 900_000_000, MEMORY)


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


def test_a_page_holds_what_it_draws_and_loads_nothing() -> None:
    page = as_html(Report("</script><b>Title", [result()], "| a table |", {"setting threads": "2"}))
    embedded = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert embedded
    data = json.loads(embedded[1])
    assert data["title"] == "</script><b>Title"
    assert data["facts"]["setting threads"] == "2"
    assert data["facts"]["command"].startswith("python -m loadtests")
    assert re.fullmatch(r"([0-9a-f]{7,}(-dirty)?)?", data["facts"]["commit"])
    (run,) = data["results"]
    assert data["text"] == "| a table |"
    assert run["figures"]["p99"] == pytest.approx(0.099)
    assert run["figures"]["refused_p99"] == 0.004
    assert run["figures"]["server_cpu"] == 0.025
    assert run["statuses"] == {"200": 99, "429": 1}
    assert len(run["answers"]) == 100
    assert run["observation"]["memory"][1] == {
        "at": 1.0, "rss": 800_000_000, "cpu": 2.5, "all": 950_000_000
    }  # fmt: skip
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|@import|fetch\(", page)


def test_a_run_without_any_answer_is_reported(tmp_path: Path) -> None:
    nothing = Load(1.0, [Answer(0.0, 0.0, 1.0, 0, False)], client_cpu=0.001)
    report = Report("Nothing", [result(nothing, Observation())])
    write(report, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["results"][0]["figures"]["p99"] is None


def test_milliseconds_are_short() -> None:
    assert [ms(None), ms(math.nan)] == ["-", "-"]
    assert [ms(seconds) for seconds in (0.00012, 0.0123, 0.1234, 1.5)] == ["0.12", "12.3", "123", "1,500"]


def test_goodput_under_overload_is_told_as_a_share_of_the_peak() -> None:
    level = Level(2.0, 20.0, load(refused=10), peak=10.0, deadline=10.0)
    assert level.figures["share"] == pytest.approx(0.9)
    assert level.figures["refused"] == pytest.approx(0.1)
    assert level.figures["failed"] == 0
    table = levels_table([level, Level(2.0, 20.0, load(refused=30), peak=10.0, deadline=10.0)])
    assert "| 2 | 20.0 | 8.0 | 0.80 |" in table
    assert "| target at 2 |" in table


def test_answers_after_the_deadline_are_no_goodput() -> None:
    late = Level(2.0, 20.0, load(latency=20.0, refused=0), peak=10.0, deadline=10.0)
    assert late.figures["share"] == pytest.approx(0.5)


def test_fairness_is_a_ratio_of_percentiles() -> None:
    pair = Pair(result(load(0.1)), result(load(0.25)), result(load(3.0)))
    assert pair.ratio == pytest.approx(2.5)
    assert "Ratio of the p99: 2.50" in pairs_table([pair])


def test_fairness_says_when_nobody_was_answered() -> None:
    pair = Pair(result(), result(load(refused=100)), result())
    assert "none beside was answered" in pairs_table([pair])


def test_the_machine_is_known() -> None:
    facts = machine_facts()
    assert int(facts["cores"]) >= 1
    assert facts["onnxruntime"][0].isdigit()
    assert "GiB" in facts["memory"]
