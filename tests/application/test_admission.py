"""Refusal at the door, in seconds of measured work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from clipserve.application.admission import Admission
from clipserve.errors import DeadlineExceeded, Overloaded, TooMany
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, add_stage, enter
from tests.virtual_time import HandClock


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left to a deadline is what the test says, on a busy machine too."""
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)


def taught(clock: HandClock, image: float, text: float = 0.001) -> Admission:
    """An admission that has seen enough requests to know what an image and a text cost, in seconds."""
    admission = Admission(1.0, Metrics(), clock)
    for _ in range(5):
        with admission.admit(images=2):
            clock.now += 2 * image
        with admission.admit(texts=2):
            clock.now += 2 * text
    return admission


@contextmanager
def a_request_with(seconds: float) -> Iterator[None]:
    enter(RequestContext("a", time.monotonic() + seconds))
    try:
        yield
    finally:
        enter(None)


def test_an_idle_service_admits_what_might_just_be_answered() -> None:
    admission = taught(HandClock(100.0), 0.1)
    with a_request_with(seconds=5), admission.admit(190):
        pass


def test_the_wait_for_encoders_to_be_loaded_is_no_measure_of_a_row() -> None:
    clock = HandClock(100.0)
    admission = taught(clock, 0.1)
    before = admission.lanes["image"].seconds_per_row
    with a_request_with(seconds=50), admission.admit(1):
        add_stage("load", time.perf_counter(), time.perf_counter() + 9.0)
        clock.now += 9.1
    assert admission.lanes["image"].seconds_per_row == pytest.approx(before, rel=0.01)


def test_images_that_are_not_encoded_teach_nothing() -> None:
    clock = HandClock(100.0)
    admission = taught(clock, 0.1)
    before = admission.lanes["image"].seconds_per_row
    for number in range(100):  # junk is always in flight, and a photo now and then takes as long as ever
        with admission.admit(10) as junk:
            clock.now += 0.002
            junk.failed(10)
            if number % 20 == 0:
                with admission.admit(1):
                    clock.now += 0.1
    assert admission.lanes["image"].seconds_per_row == pytest.approx(before, rel=0.05)


def test_of_a_request_the_images_that_are_encoded_say_what_one_takes() -> None:
    clock = HandClock(100.0)
    admission = Admission(1.0, Metrics(), clock)
    with admission.admit(images=4) as request:
        clock.now += 0.4
        request.failed(2)
    assert admission.lanes["image"].seconds_per_row == pytest.approx(0.2)


def test_an_idle_service_refuses_what_cannot_be_answered_in_time() -> None:
    admission = taught(HandClock(100.0), 0.1, text=0.001)
    with a_request_with(seconds=5):
        match = r"1,000 images or texts, about 100 s, and 5\.0 s are left .* about \d\d fit"
        with pytest.raises(TooMany, match=match) as caught, admission.admit(images=1000, texts=10):
            pass
        assert caught.value.limit == pytest.approx(50, abs=1)
        assert caught.value.actual == 1000
    for images, texts, said in ((10, 50, "as much work as 10 "), (1, 1_000, "as much work as 1,000 ")):
        with a_request_with(seconds=0.2), pytest.raises(TooMany, match=said), admission.admit(images, texts):
            pass
    with admission.admit(images=1000):  # without a deadline
        pass


def test_what_is_learned_at_the_start_counts_until_more_is_known() -> None:
    clock = HandClock(100.0)
    admission = Admission(1.0, Metrics(), clock)
    admission.learn_at_start("text", 3, 0.3)
    with a_request_with(seconds=1), pytest.raises(TooMany), admission.admit(texts=50):
        pass
    for _ in range(50):
        with admission.admit(texts=10):
            clock.now += 0.01
    with a_request_with(seconds=1), admission.admit(texts=50):
        pass


def test_a_slow_minute_is_not_held_against_requests_that_come_long_after_it() -> None:
    clock = HandClock(100.0)
    admission = Admission(1.0, Metrics(), clock)
    admission.learn_at_start("text", 10, 0.1)
    for _ in range(10):
        with admission.admit(texts=1):
            clock.now += 5.0
    for _ in range(3):  # a refusal is no reason to believe it longer
        with a_request_with(seconds=5), pytest.raises(Overloaded), admission.admit(texts=100):
            pass
        clock.now += 5.0
    clock.now += 300.0
    with a_request_with(seconds=5), admission.admit(texts=100):
        clock.now += 1.0
    with a_request_with(seconds=5), pytest.raises(TooMany), admission.admit(texts=5_000):  # it still is
        pass


def test_after_a_stall_a_request_is_told_to_come_again_and_not_that_it_is_too_large() -> None:
    clock = HandClock(100.0)
    admission = Admission(1.0, Metrics(), clock)
    admission.learn_at_start("image", 10, 0.1)
    for _ in range(3):
        with admission.admit(1):
            clock.now += 20.0
    for rows, left, said, retry_after in (
        (32, 5, r"about 627 s, 1958 times what it usually takes, and 5\.0 s are left", 30),
        (1, 1, r"about 20 s, 1958 times what it usually takes, and 1\.0 s are left", 19.58),
    ):
        with (
            a_request_with(seconds=left),
            pytest.raises(Overloaded, match=said) as caught,
            admission.admit(rows),
        ):
            pass
        assert caught.value.retry_after == pytest.approx(retry_after, abs=0.01)
    clock.now += 300.0
    with a_request_with(seconds=5), admission.admit(32):
        clock.now += 0.32
    with a_request_with(seconds=5), pytest.raises(TooMany), admission.admit(5_000):
        pass


def test_what_was_learned_at_the_start_is_what_an_idle_service_comes_back_to() -> None:
    clock = HandClock(100.0)
    clock.now = 1_000_000.0  # of a machine that has run for days
    admission = Admission(1.0, Metrics(), clock)
    admission.learn_at_start("text", 10, 1.0)
    with admission.admit(texts=1):
        clock.now += 5.0
    clock.now += 600.0
    with a_request_with(seconds=1), pytest.raises(TooMany), admission.admit(texts=100):
        pass


def test_more_than_a_second_of_work_ahead_is_refused_with_a_measured_hint() -> None:
    admission = taught(HandClock(100.0), 0.11)
    with ExitStack() as others:
        for _ in range(10):
            others.enter_context(admission.admit(1))
        with pytest.raises(Overloaded, match=r"1\.1 s of work") as caught, admission.admit(1):
            pass
        assert caught.value.retry_after == pytest.approx(0.6, rel=0.001)  # an empty lane forgets a little
    with admission.admit(1):
        pass


def test_a_large_request_is_not_ahead_of_a_small_one_but_of_another_large_one() -> None:
    clock = HandClock(100.0)
    admission = taught(clock, 0.1, text=0.005)
    with admission.admit(texts=1000):  # 5 s
        with admission.admit(images=1), admission.admit(texts=10):
            clock.now += 0.05
        with pytest.raises(Overloaded, match=r"5\.0 s of work"), admission.admit(texts=1000):
            pass


@contextmanager
def asked_by(whose: str) -> Iterator[None]:
    enter(RequestContext(whose, address=whose))
    try:
        yield
    finally:
        enter(None)


@contextmanager
def in_flight(admission: Admission, whose: str, images: int = 0, texts: int = 0) -> Iterator[None]:
    """A request of this caller, while the block lasts, which is nobody's."""
    with asked_by(whose):
        request = admission.admit(images, texts)
    with request:
        yield


def test_a_caller_alone_fills_the_queue_and_another_finds_a_place_all_the_same() -> None:
    admission = taught(HandClock(100.0), 0.1)
    with ExitStack() as others:
        for _ in range(11):
            others.enter_context(in_flight(admission, "many", images=1))
        with asked_by("many"), pytest.raises(Overloaded, match=r"1\.1 s of work"), admission.admit(images=1):
            pass
        for _ in range(5):  # each waits for as many rows of the other as it has itself
            others.enter_context(in_flight(admission, "few", images=1))
        with asked_by("few"), pytest.raises(Overloaded, match=r"1\.1 s of work"), admission.admit(images=1):
            pass
        with asked_by("third"), admission.admit(images=3):
            pass


def test_what_a_caller_waits_for_is_no_more_than_all_that_the_others_have() -> None:
    admission = taught(HandClock(100.0), 0.1)
    with ExitStack() as others:
        for whose in "abc":
            others.enter_context(in_flight(admission, whose, images=1))
        for _ in range(8):
            others.enter_context(in_flight(admission, "many", images=1))
        with asked_by("many"), pytest.raises(Overloaded, match=r"1\.1 s of work"), admission.admit(images=1):
            pass


def test_a_request_that_would_miss_its_deadline_is_refused_at_once() -> None:
    clock = HandClock(100.0)
    admission = taught(clock, 0.1)
    with a_request_with(seconds=2.5), admission.admit(images=4):
        with admission.admit(images=20):  # 0.4 s ahead, 2 s of its own
            clock.now += 2.0
        match = r"itself takes about \d\.\d s, but 2\.5 s are left"
        with pytest.raises(Overloaded, match=match), admission.admit(images=30):
            pass


def test_the_measure_is_the_drain_rate_whether_rows_leave_one_by_one_or_together() -> None:
    clock = HandClock(100.0)
    admission = taught(clock, 0.1)
    for _ in range(500):  # four at a time, 0.1 s for all
        with ExitStack() as batch:
            for _ in range(4):
                batch.enter_context(admission.admit(1))
            clock.now += 0.1
    with ExitStack() as others:
        for _ in range(36):
            others.enter_context(admission.admit(1))


def test_small_requests_beside_a_large_one_do_not_make_rows_look_dear() -> None:
    clock = HandClock(100.0)
    admission = taught(clock, 0.1, text=0.005)
    for _ in range(20):
        with admission.admit(texts=1000):
            for _ in range(50):  # each waits for one batch of the large one
                with admission.admit(texts=1):
                    clock.now += 0.1
    with ExitStack() as others:
        for _ in range(100):
            others.enter_context(admission.admit(texts=1))


def test_failed_requests_give_their_place_back_and_do_not_teach() -> None:
    clock = HandClock(100.0)
    admission = taught(clock, 0.1)
    for _ in range(100):
        with pytest.raises(ValueError, match="x"), admission.admit(8):
            raise ValueError("x")
    with ExitStack() as others:
        for _ in range(9):
            others.enter_context(admission.admit(1))


def test_nothing_to_do_is_free() -> None:
    admission = taught(HandClock(100.0), 0.1)
    with admission.admit(0):
        pass


def test_a_deadline_in_which_nothing_fits_is_no_fault_of_the_number_of_items() -> None:
    admission = taught(HandClock(100.0), 0.1)
    with a_request_with(seconds=0.02):
        with pytest.raises(DeadlineExceeded, match="one image or text takes about"), admission.admit(1):
            pass
        with admission.admit(texts=1):
            pass


def test_the_work_ahead_is_that_of_all_rows_in_flight() -> None:
    clock, metrics = HandClock(100.0), Metrics()
    admissions = [Admission(100.0, metrics, clock) for _ in range(2)]  # of two models

    def ahead(tower: str) -> float | None:
        return metrics.registry.get_sample_value("clipserve_work_ahead_seconds", {"tower": tower})

    def in_flight(tower: str) -> float | None:
        return metrics.registry.get_sample_value("clipserve_rows_in_flight", {"tower": tower})

    for admission in admissions:
        admission.learn_at_start("image", 10, 2.0)
        admission.learn_at_start("text", 10, 0.1)
    assert (ahead("image"), ahead("text")) == (0, 0)
    first, second = admissions
    with first.admit(images=3, texts=5), first.admit(images=1), second.admit(images=2):
        assert ahead("image") == pytest.approx(6 * 0.2)
        assert ahead("text") == pytest.approx(5 * 0.01)
        assert (in_flight("image"), in_flight("text")) == (6, 5)
    assert (ahead("image"), ahead("text"), in_flight("image"), in_flight("text")) == (0, 0, 0, 0)
