"""Refusal at the door, in seconds of measured work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

import pytest

from clipserve.application.admission import Admission
from clipserve.errors import ClipError, DeadlineExceeded, Overloaded, TooMany
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, add_stage, enter
from tests.support.virtual_time import HandClock

E = TypeVar("E", bound=ClipError)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left to a deadline is what the test says, on a busy machine too."""
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_000_000.0)  # of a machine that has run for days


@pytest.fixture
def fresh(clock: HandClock) -> Admission:
    """An admission that knows nothing."""
    return Admission(1.0, Metrics(), clock)


@pytest.fixture
def admission(fresh: Admission, clock: HandClock) -> Admission:
    """One that has seen enough requests to know that an image takes 0.1 s, and a text 0.005."""
    for _ in range(5):
        with fresh.admit(images=2):
            clock.now += 0.2
        with fresh.admit(texts=2):
            clock.now += 0.01
    return fresh


@contextmanager
def a_request_with(seconds: float | None = None, whose: str = "") -> Iterator[None]:
    """One with so many seconds to its deadline, of this caller."""
    enter(RequestContext("a", None if seconds is None else time.monotonic() + seconds, address=whose))
    try:
        yield
    finally:
        enter(None)


def refused(admission: Admission, kind: type[E], match: str = ".", *, images: int = 0, texts: int = 0) -> E:
    """The error of a request of so many rows."""
    with pytest.raises(kind, match=match) as caught:
        admission.admit(images, texts)
    return caught.value


@contextmanager
def in_flight(admission: Admission, requests: int, whose: str = "") -> Iterator[None]:
    """So many requests for an image of this caller, while the block lasts, which is nobody's. None is refused."""
    with ExitStack() as admitted:
        for _ in range(requests):
            with a_request_with(whose=whose):
                request = admission.admit(1)
            admitted.enter_context(request)
        yield


def image_seconds(admission: Admission) -> float:
    return admission.lanes["image"].seconds_per_row


# What is learned.


def test_the_wait_for_encoders_to_be_loaded_is_no_measure_of_a_row(
    admission: Admission, clock: HandClock
) -> None:
    before = image_seconds(admission)
    with a_request_with(seconds=50), admission.admit(1):
        add_stage("load", time.perf_counter(), time.perf_counter() + 9.0)
        clock.now += 9.1
    assert image_seconds(admission) == pytest.approx(before, rel=0.01)


def test_images_that_are_not_encoded_teach_nothing(admission: Admission, clock: HandClock) -> None:
    before = image_seconds(admission)
    for number in range(100):  # junk is always in flight, and a photo now and then takes as long as ever
        with admission.admit(10) as junk:
            clock.now += 0.002
            junk.failed(10)
            if number % 20 == 0:
                with admission.admit(1):
                    clock.now += 0.1
    assert image_seconds(admission) == pytest.approx(before, rel=0.05)


def test_of_a_request_the_images_that_are_encoded_say_what_one_takes(
    fresh: Admission, clock: HandClock
) -> None:
    with fresh.admit(images=4) as request:
        clock.now += 0.4
        request.failed(2)
    assert image_seconds(fresh) == pytest.approx(0.2)


def test_failed_requests_give_their_place_back_and_do_not_teach(
    admission: Admission, clock: HandClock
) -> None:
    before = image_seconds(admission)
    for _ in range(100):
        with suppress(ValueError), admission.admit(8):
            clock.now += 0.001
            raise ValueError("x")
    assert image_seconds(admission) == pytest.approx(before, rel=0.01)
    assert admission.in_flight == {"image": 0, "text": 0}


def test_what_is_learned_at_the_start_counts_until_more_is_known(fresh: Admission, clock: HandClock) -> None:
    fresh.learn_at_start("text", 3, 0.3)
    with a_request_with(seconds=1):
        refused(fresh, TooMany, texts=50)
    for _ in range(50):
        with fresh.admit(texts=10):
            clock.now += 0.01
    with a_request_with(seconds=1):
        fresh.admit(texts=50)


def test_a_slow_minute_is_not_held_against_requests_that_come_long_after_it(
    fresh: Admission, clock: HandClock
) -> None:
    fresh.learn_at_start("text", 10, 0.1)
    for _ in range(10):
        with fresh.admit(texts=1):
            clock.now += 5.0
    with a_request_with(seconds=5):
        for _ in range(3):  # a refusal is no reason to believe it longer
            refused(fresh, Overloaded, "usually takes", texts=100)
            clock.now += 5.0
        clock.now += 300.0
        with fresh.admit(texts=100):
            clock.now += 1.0
        refused(fresh, TooMany, texts=5_000)  # it still is


def test_after_a_stall_a_request_is_told_to_come_again_and_not_that_it_is_too_large(
    fresh: Admission, clock: HandClock
) -> None:
    fresh.learn_at_start("image", 10, 0.1)
    for _ in range(3):
        with fresh.admit(1):
            clock.now += 20.0
    for rows, left, said, retry_after in (
        (32, 5, r"about 627 s, 1958 times what it usually takes, and 5\.0 s are left", 30),
        (1, 1, r"about 20 s, 1958 times what it usually takes, and 1\.0 s are left", 19.58),
    ):
        with a_request_with(seconds=left):
            error = refused(fresh, Overloaded, said, images=rows)
        assert error.retry_after == pytest.approx(retry_after, abs=0.01)


def test_what_was_learned_at_the_start_is_what_an_idle_service_comes_back_to(
    fresh: Admission, clock: HandClock
) -> None:
    fresh.learn_at_start("text", 10, 1.0)
    with fresh.admit(texts=1):
        clock.now += 5.0
    clock.now += 600.0
    with a_request_with(seconds=1):
        refused(fresh, TooMany, texts=100)


def test_the_measure_is_the_drain_rate_whether_rows_leave_one_by_one_or_together(
    admission: Admission, clock: HandClock
) -> None:
    for _ in range(500):  # four at a time, 0.1 s for all
        with in_flight(admission, 4):
            clock.now += 0.1
    with in_flight(admission, 36):
        pass


def test_small_requests_beside_a_large_one_do_not_make_rows_look_dear(
    admission: Admission, clock: HandClock
) -> None:
    for _ in range(20):
        with admission.admit(texts=1000):
            for _ in range(50):  # each waits for one batch of the large one
                with admission.admit(texts=1):
                    clock.now += 0.1
    with ExitStack() as others:
        for _ in range(100):
            others.enter_context(admission.admit(texts=1))


# What is refused, and what is said.


def test_an_idle_service_admits_what_might_just_be_answered_and_refuses_what_cannot(
    admission: Admission,
) -> None:
    with a_request_with(seconds=5):
        admission.admit(190)
        match = r"1,000 images or texts, about 100 s, and 5\.0 s are left .* about \d\d fit"
        error = refused(admission, TooMany, match, images=1000, texts=10)
        assert error.limit == pytest.approx(50, abs=1)
        assert error.actual == 1000
    with a_request_with(seconds=0.2):
        refused(admission, TooMany, "as much work as 10 ", images=10, texts=50)
        refused(admission, TooMany, "as much work as 1,000 ", images=1, texts=1_000)
    admission.admit(images=1000)  # without a deadline
    with admission.admit(0):  # nothing to do is free
        pass


def test_a_deadline_in_which_nothing_fits_is_no_fault_of_the_number_of_items(admission: Admission) -> None:
    with a_request_with(seconds=0.02):
        refused(admission, DeadlineExceeded, "one image or text takes about", images=1)
        admission.admit(texts=1)


def test_a_request_that_would_miss_its_deadline_is_refused_at_once(
    admission: Admission, clock: HandClock
) -> None:
    with a_request_with(seconds=2.5), admission.admit(images=4):
        with admission.admit(images=20):  # 0.4 s ahead, 2 s of its own
            clock.now += 2.0
        refused(admission, Overloaded, r"itself takes about \d\.\d s, but 2\.5 s are left", images=30)


def test_more_than_a_second_of_work_ahead_is_refused_with_a_measured_hint(admission: Admission) -> None:
    with in_flight(admission, 11):
        error = refused(admission, Overloaded, r"1\.1 s of work", images=1)
        assert error.retry_after == pytest.approx(0.599, rel=0.001)  # an empty lane forgets a little
    admission.admit(1)


def test_a_large_request_is_not_ahead_of_a_small_one_but_of_another_large_one(admission: Admission) -> None:
    with admission.admit(texts=1000):  # 5 s, of which the lane forgot a little
        admission.admit(images=1)
        admission.admit(texts=10)
        refused(admission, Overloaded, r"4\.9 s of work", texts=1000)


def test_a_caller_alone_fills_the_queue_and_another_finds_a_place_all_the_same(admission: Admission) -> None:
    with in_flight(admission, 11, "many"):
        with a_request_with(whose="many"):
            refused(admission, Overloaded, r"1\.1 s of work", images=1)
        with in_flight(admission, 5, "few"):  # each waits for as many rows of the other as it has itself
            with a_request_with(whose="few"):
                refused(admission, Overloaded, r"1\.1 s of work", images=1)
            with a_request_with(whose="third"):
                admission.admit(images=3)


def test_what_a_caller_waits_for_is_no_more_than_all_that_the_others_have(admission: Admission) -> None:
    with ExitStack() as others:
        for whose, requests in {"a": 1, "b": 1, "c": 1, "many": 8}.items():
            others.enter_context(in_flight(admission, requests, whose))
        with a_request_with(whose="many"):
            refused(admission, Overloaded, r"1\.1 s of work", images=1)


def test_the_work_ahead_is_that_of_all_rows_in_flight(clock: HandClock) -> None:
    metrics = Metrics()
    first, second = (Admission(100.0, metrics, clock) for _ in range(2))  # of two models

    def told(what: str) -> list[float | None]:
        value = metrics.registry.get_sample_value
        return [value(f"clipserve_{what}", {"tower": tower}) for tower in ("image", "text")]

    for admission in (first, second):
        admission.learn_at_start("image", 10, 2.0)
        admission.learn_at_start("text", 10, 0.1)
    with first.admit(images=3, texts=5), first.admit(images=1), second.admit(images=2):
        assert told("work_ahead_seconds") == [pytest.approx(6 * 0.2), pytest.approx(5 * 0.01)]
        assert told("rows_in_flight") == [6, 5]
    assert (told("work_ahead_seconds"), told("rows_in_flight")) == ([0, 0], [0, 0])
