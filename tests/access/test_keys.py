"""Who has a key that is known, and for what. A key that is taken away: tests/apis/test_removed_keys.py."""

from __future__ import annotations

import base64

import pytest

from clipserve.access.gate import Gate, RateOptions
from clipserve.access.keys import Key, Keys, digest_of, new_key
from clipserve.errors import TooMany
from clipserve.telemetry.request import RequestContext, enter
from tests.access.support import made

KEY, KEPT = made("camera", rows_per_second=1)


def test_a_key_is_256_random_bits_behind_a_prefix_and_its_sha256_is_kept() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    prefix, _, bits = KEY.partition("_")
    assert (prefix, len(base64.urlsafe_b64decode(bits + "=")), len(KEY)) == ("clip", 32, 48)
    # FIPS 180-2
    assert digest_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_known_key_is_found_in_a_header_of_a_bearer() -> None:
    for header in ("Bearer {}", "bearer {}", "Bearer  {} "):
        assert Keys([made("other")[1], KEPT]).find(header.format(KEY)) == KEPT


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", " ", "Bearer", "Bearer ", "{}", "Basic {}", "Bearer{}", "Bearer {}x", "Bearer x{}"),
        *("Bearer {} {}", "Bearer é", "Bearer \udc80", "Bearer " + "x" * 60_000, "Bearer {digest}"),
        "Bearer {wrong}",
    ],
)
def test_nothing_is_found_in_any_other_header(header: str | None) -> None:
    wrong = f"{KEY[:20]}{'A' if KEY[20] != 'A' else 'B'}{KEY[21:]}"
    presented = header.format(KEY, KEY, digest=KEPT.sha256, wrong=wrong) if header else header
    assert Keys([KEPT]).find(presented) is None


async def test_the_rate_of_a_key_is_the_one_that_its_line_has_now_or_that_of_all() -> None:
    def line(rows_per_second: int | None) -> Key:
        return KEPT.model_copy(update={"rows_per_second": rows_per_second})

    keys = Keys([line(0)])
    gate = Gate(keys, RateOptions(rows_per_second=2))
    enter(RequestContext("a"))
    await gate.enter(f"Bearer {KEY}", "use")
    await gate.charge(rows=1_000)
    for own, of_a_window in ((1, 10), (None, 20)):
        keys.replace([line(own)])
        with pytest.raises(TooMany, match=f"up to {of_a_window} at once"):
            await gate.charge(rows=1_000)


async def test_what_came_without_a_key_is_charged_nothing() -> None:
    gate = Gate(Keys([]), RateOptions(1, 1, 1))
    for context in (None, RequestContext("a page, or work of our own")):
        enter(context)
        await gate.charge(rows=10**6, size=10**9)
