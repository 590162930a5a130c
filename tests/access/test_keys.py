"""Who has a key that is known, and for what; and that a key which is taken away charges no more."""

from __future__ import annotations

import base64
from contextlib import nullcontext

import pytest

from clipserve.access.gate import Gate, RateOptions, when_there_is_room
from clipserve.access.keys import Key, Keys, Scope, digest_of, new_key
from clipserve.errors import ClipError, PermissionDenied, RateLimited, Unauthenticated
from clipserve.telemetry.request import RequestContext, enter
from tests.access.support import made

KEY, KEPT = made("camera", rows_per_second=1)
ANOTHER = made("camera")[1]  # the same name, and another key


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


@pytest.mark.parametrize(
    ("scopes", "needed", "allowed"),
    [
        (("use",), "use", True),
        (("use",), "manage", False),
        (("manage",), "use", False),
        (("use", "manage"), "manage", True),
    ],
)
def test_a_key_is_for_its_scopes_alone(scopes: tuple[str, ...], needed: Scope, allowed: bool) -> None:
    key, kept = made(scopes=scopes)
    with nullcontext() if allowed else pytest.raises(PermissionDenied, match=f"`{needed}`"):
        Keys([kept]).check(f"Bearer {key}", needed)


def test_an_error_holds_neither_the_key_nor_its_name() -> None:
    for presented, kind in ((KEY, PermissionDenied), (KEY + "x", Unauthenticated)):
        with pytest.raises(kind) as refused:
            Keys([KEPT]).check(f"Bearer {presented}", "manage")
        assert KEY not in refused.value.detail
        assert KEPT.name not in refused.value.detail


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        pytest.param([], Unauthenticated, id="removed"),
        pytest.param([ANOTHER], Unauthenticated, id="replaced by another of its name"),
        pytest.param(
            [KEPT.model_copy(update={"scopes": ("manage",)})], PermissionDenied, id="for something else now"
        ),
    ],
)
async def test_a_request_whose_key_was_taken_away_is_charged_no_more(
    known: list[Key], kind: type[ClipError]
) -> None:
    keys = Keys([KEPT])
    gate = Gate(keys)
    enter(RequestContext("a"))
    await gate.enter(f"Bearer {KEY}", "use")
    await gate.charge(rows=1)
    keys.replace(known)
    for cost in ({"rows": 1}, {"size": 1}):
        with pytest.raises(kind):
            await gate.charge(**cost)
    with pytest.raises(kind):
        await when_there_is_room(lambda: gate.charge(rows=1))


async def test_the_rate_of_a_key_is_the_one_that_its_line_has_now() -> None:
    keys = Keys([KEPT.model_copy(update={"rows_per_second": 0})])
    gate = Gate(keys)
    enter(RequestContext("a"))
    await gate.enter(f"Bearer {KEY}", "use")
    await gate.charge(rows=1_000)
    keys.replace([KEPT])
    await gate.charge(rows=10)
    with pytest.raises(RateLimited):
        await gate.charge(rows=1)


async def test_what_came_without_a_key_is_charged_nothing() -> None:
    gate = Gate(Keys([]), RateOptions(1, 1, 1))
    for context in (None, RequestContext("a page, or work of our own")):
        enter(context)
        await gate.charge(rows=10**6, size=10**9)
