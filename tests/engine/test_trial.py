"""A trial of two engines is decided by CPU time, which other programs hardly change, or not at all."""

from __future__ import annotations

import pytest

from clipserve.clip.artifact import IMAGE_GRAPH
from clipserve.engine.backend import Embeddings
from clipserve.engine.backends.trial import best_rows, compare, decided
from clipserve.engine.in_process import Feeds
from tests.engine.arithmetic import INPUTS, WALL, Arithmetic, clocks

__all__ = ["clocks"]  # of all tests here


@pytest.mark.parametrize(
    ("ratios", "wins"),
    [
        pytest.param([0.5] * 3, None, id="three pairs are too few"),
        pytest.param([0.9] * 4, True, id="a tenth less in four pairs"),
        pytest.param([0.91] * 4, False, id="less than a tenth"),
        pytest.param([0.5] * 3 + [1.1], None, id="one of four differs"),
        pytest.param([1.1] + [0.5] * 4, True, id="four in a row agree"),
        pytest.param([0.5, 1.1] * 20, None, id="they never agree"),
    ],
)
def test_pairs_decide_only_where_they_agree(ratios: list[float], wins: bool | None) -> None:
    assert decided(ratios) is wins


@pytest.mark.parametrize(
    ("standard", "challenger", "wins"),
    [
        pytest.param(Arithmetic("a", 0.1), Arithmetic("b", 0.08), True, id="faster"),
        pytest.param(Arithmetic("a", 0.1), Arithmetic("b", 0.095), False, id="not by a tenth"),
        pytest.param(Arithmetic("a", 0.1), Arithmetic("b", 0.2), False, id="slower"),
        pytest.param(
            Arithmetic("a", 0.05, waits=[0.3, 0.4]),
            Arithmetic("b", 0.1),
            False,
            id="slower, beside a busy program",
        ),
        pytest.param(
            Arithmetic("a", 0.1), Arithmetic("b", 0.05, waits=[0.3, 0.0, 0.4]), True, id="faster, beside one"
        ),
        pytest.param(Arithmetic("a", 0.1), Arithmetic("b", 0.01, angle=0.03), True, id="cosine 0.99955"),
        pytest.param(Arithmetic("a", 0.1), Arithmetic("b", 0.01, angle=0.033), False, id="cosine 0.99946"),
        pytest.param(Arithmetic("a", 0.1), Arithmetic("b", 0.01, angle=float("nan")), False, id="NaN"),
        pytest.param(Arithmetic("a", 2.0), Arithmetic("b", 1.3), True, id="a large model, in fewer pairs"),
        pytest.param(
            Arithmetic("a", 0.1, others=0.1),
            Arithmetic("b", 0.05),
            None,
            id="beside other work of this process",
        ),
    ],
)
def test_the_challenger_wins_by_cpu_time_and_only_if_it_agrees(
    standard: Arithmetic, challenger: Arithmetic, wins: bool | None
) -> None:
    assert compare(standard, challenger, INPUTS, threads=1).wins is wins


def test_calls_of_both_are_in_turns_and_their_durations_are_told() -> None:
    runs: list[str] = []
    standard, challenger = (Arithmetic(name, cpu, runs=runs) for name, cpu in (("a", 0.1), ("b", 0.05)))
    verdict = compare(standard, challenger, INPUTS, threads=1)
    assert runs == [*"aabb", *"ab" * 4]
    assert verdict.ms_per_call == {"a": 100.0, "b": 50.0}
    assert verdict.ratios == pytest.approx([0.5] * 4)


class Swinging(Arithmetic):
    """Its CPU time is half of the standard's, then twice as much."""

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        self.cpu = 0.25 - self.cpu
        return super().run(graph, feeds)


def test_a_trial_that_never_agrees_ends_after_ten_seconds() -> None:
    began = WALL.now
    assert compare(Arithmetic("a", 0.1), Swinging("b", 0.05), INPUTS, threads=1).wins is None
    assert 10 <= WALL.now - began < 12


@pytest.mark.parametrize(
    ("row_cpu", "call_seconds", "rows"),
    [
        pytest.param({4: 0.030, 8: 0.0295, 16: 0.020}, 0.06, 4, id="the next gains less than 3 %"),
        pytest.param({4: 0.030, 8: 0.029, 16: 0.0285}, 0.06, 8, id="the next gains 3 %, and that is all"),
        pytest.param({4: 0.030, 8: 0.029, 16: 0.028}, 0.06, 16, id="each gains 3 %"),
        pytest.param({4: 0.030, 8: 0.029, 16: 0.020}, 0.07, 8, id="16 would take more than half a second"),
        pytest.param({}, 2.0, 4, id="a large model is not tried"),
    ],
)
def test_a_call_has_as_many_images_as_still_gain(
    row_cpu: dict[int, float], call_seconds: float, rows: int
) -> None:
    engine = Arithmetic("a", 1.0, row_cpu=row_cpu)
    assert best_rows(engine, INPUTS[IMAGE_GRAPH], call_seconds) == rows
    assert len(engine.runs) <= 2 * len(row_cpu)
