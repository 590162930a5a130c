"""Refusal at the door, in seconds of measured work."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from service.admission import Admission
from service.errors import Overloaded
from service.metrics import Metrics


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def taught(clock: Clock, seconds_per_row: float) -> Admission:
    """An admission that has seen enough requests to know what a row costs."""
    admission = Admission(1.0, Metrics(), clock)
    for _ in range(5):
        with admission.admit(2):
            clock.now += 2 * seconds_per_row
    return admission


def test_an_idle_service_admits_whatever_the_size() -> None:
    admission = taught(Clock(), 0.1)
    with admission.admit(1000):
        pass


def test_more_than_a_second_of_work_ahead_is_refused_with_a_measured_hint() -> None:
    admission = taught(Clock(), 0.11)
    with ExitStack() as others:
        for _ in range(10):
            others.enter_context(admission.admit(1))
        with pytest.raises(Overloaded, match=r"1\.1 s of work") as caught, admission.admit(1):
            pass
        assert caught.value.retry_after == pytest.approx(0.6)
    with admission.admit(1):
        pass


def test_the_measure_is_the_drain_rate_whether_rows_leave_one_by_one_or_together() -> None:
    clock = Clock()
    admission = taught(clock, 0.1)
    for _ in range(50):  # four at a time, 0.1 s for all
        with ExitStack() as batch:
            for _ in range(4):
                batch.enter_context(admission.admit(1))
            clock.now += 0.1
    with ExitStack() as others:
        for _ in range(36):
            others.enter_context(admission.admit(1))


def test_failed_requests_give_their_place_back_and_do_not_teach() -> None:
    clock = Clock()
    admission = taught(clock, 0.1)
    for _ in range(100):
        with pytest.raises(ValueError, match="x"), admission.admit(8):
            raise ValueError("x")
    with ExitStack() as others:
        for _ in range(9):
            others.enter_context(admission.admit(1))


def test_nothing_to_do_is_free() -> None:
    admission = taught(Clock(), 0.1)
    with admission.admit(0):
        pass
