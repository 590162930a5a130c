"""Images are dealt by request, a fair share of bytes to each, and nobody waits for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipserve.application.decode_queue import DecodeQueue, QueuedDecode

BOMB, PHOTO = 500, 35


class Desk(DecodeQueue[str]):
    """A queue, and what was dealt from it."""

    def arrive(self, owner: str, *sizes: int, caller: str = "") -> list[QueuedDecode[str]]:
        images = [QueuedDecode(owner, size, f"{owner}{number}", caller) for number, size in enumerate(sizes)]
        for image in images:
            self.put(image)
        return images

    def next(self) -> QueuedDecode[str]:
        image = self.dealt(10**9)
        assert image is not None
        return image

    def dealt_one_by_one(self) -> list[str]:
        dealt = []
        while image := self.dealt(10**9):
            dealt.append(image.item)
            self.ended(image)
        return dealt


def test_requests_take_turns_and_the_first_to_come_begins() -> None:
    desk = Desk()
    desk.arrive("a", 1, 1, 1)
    desk.arrive("b", 1, 1)
    desk.arrive("c", 1)
    assert desk.dealt_one_by_one() == ["a0", "b0", "c0", "a1", "b1", "a2"]


def test_a_photo_comes_before_the_second_of_many_bombs_also_if_it_comes_later() -> None:
    desk = Desk()
    desk.arrive("bombs", *[BOMB] * 32)
    running = desk.next()
    for number in range(5):
        desk.arrive(f"photo{number}", PHOTO)
        photo = desk.next()
        assert photo.owner == f"photo{number}"
        desk.ended(photo)
    desk.ended(running)


def test_a_large_request_has_its_turn_while_photos_keep_coming() -> None:
    desk = Desk()
    desk.arrive("bombs", BOMB, BOMB)
    first = desk.next()
    photos = 0
    while True:
        desk.arrive(f"photo{photos}", PHOTO)
        image = desk.next()
        if image.owner == "bombs":
            break
        desk.ended(image)
        photos += 1
    desk.ended(first)
    assert BOMB <= photos * PHOTO <= 3 * BOMB


def test_an_image_without_room_holds_up_the_others() -> None:
    desk = Desk()
    desk.arrive("large", BOMB)
    desk.arrive("small", PHOTO)
    assert desk.dealt(BOMB - 1) is None
    assert len(desk) == 2
    image = desk.dealt(BOMB)
    assert image is not None
    assert image.owner == "large"


def test_requests_are_dealt_the_same_number_of_bytes() -> None:
    desk = Desk()
    desk.arrive("large", *[30] * 100)
    desk.arrive("small", *[10] * 100)
    dealt = desk.dealt_one_by_one()[:80]
    assert sum(item.startswith("large") for item in dealt) == 20


def test_callers_take_turns_however_many_requests_they_have_and_so_do_the_requests_of_each() -> None:
    desk = Desk()
    for owner in "abc":
        desk.arrive(owner, 1, 1, caller="many")
    desk.arrive("one", 1, 1, caller="one")
    assert desk.dealt_one_by_one() == ["a0", "one0", "b0", "one1", "c0", "a1", "b1", "c1"]


def test_a_request_that_alone_was_served_long_does_not_wait_for_that_later() -> None:
    desk = Desk()
    desk.arrive("long", *[10] * 101)
    for _ in range(100):
        desk.ended(desk.next())
    desk.arrive("new", *[10] * 3)
    dealt = desk.dealt_one_by_one()
    assert dealt.index("long100") <= 1


def test_a_removed_image_is_not_dealt_and_the_others_of_its_request_are() -> None:
    desk = Desk()
    images = desk.arrive("a", 1, 1, 1)
    assert len(desk) == 3
    desk.removed(images[1])
    assert len(desk) == 2
    assert desk.dealt_one_by_one() == ["a0", "a2"]
    (last,) = desk.arrive("b", 1)
    desk.removed(last)
    assert desk.dealt(10**9) is None


@pytest.mark.parametrize(
    ("gone", "new", "dealt"),
    [("", "", ["a1", "b0", "b1"]), ("gone", "new", ["b0", "a1", "b1"])],
    ids=["request", "caller"],
)
def test_who_has_left_has_no_share_any_more(gone: str, new: str, dealt: list[str]) -> None:
    desk = Desk()
    (image,) = desk.arrive("left", 10, caller=gone)
    desk.removed(image)
    desk.arrive("a", 10, 10)
    desk.ended(desk.next())
    desk.arrive("b", 4, 4, caller=new)  # begins with the fair share, which is all of what a has had
    assert desk.dealt_one_by_one() == dealt


@given(st.lists(st.lists(st.integers(1, 1_000), min_size=1, max_size=5), max_size=8), st.integers(1, 3))
def test_every_image_is_dealt_once_whatever_the_sizes_and_the_threads(
    requests: list[list[int]], threads: int
) -> None:
    desk, dealt = Desk(), []
    running: list[QueuedDecode[str]] = []
    for number, sizes in enumerate(requests):
        desk.arrive(f"{number}/", *sizes)
    while len(desk) or running:
        while len(desk) and len(running) < threads:
            running.append(desk.next())
        dealt.append(running[0].item)
        desk.ended(running.pop(0))
    assert sorted(dealt) == sorted(f"{n}/{i}" for n, sizes in enumerate(requests) for i in range(len(sizes)))
    assert len(desk) == 0
