"""Who has a key that is known, and for what."""

from __future__ import annotations

import base64

import pytest

from clipserve.access.keys import Keys, digest_of, new_key
from clipserve.errors import PermissionDenied, Unauthenticated
from tests.access.support import made


def test_a_key_is_256_random_bits_behind_a_prefix() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        prefix, _, bits = key.partition("_")
        assert (prefix, len(base64.urlsafe_b64decode(bits + "=")), len(key)) == ("clip", 32, 48)


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer  {} "])
def test_a_known_key_is_found_in_a_header_of_a_bearer(header: str) -> None:
    key, kept = made()
    assert Keys([made("other")[1], kept, made("third")[1]]).find(header.format(key)) == kept


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        " ",
        "Bearer",
        "Bearer ",
        "{}",
        "Basic {}",
        "Token {}",
        "Bearer{}",
        "Bearer {}x",
        "Bearer x{}",
        "Bearer {} {}",
        "Bearer é",
        "Bearer \udc80",
        "Bearer " + "-" * 48,
        "Bearer " + "x" * 60_000,
    ],
)
def test_nothing_is_found_in_any_other_header(header: str | None) -> None:
    key, kept = made()
    known = Keys([kept])
    presented = header.format(key, key) if header else header
    assert known.find(presented) is None
    with pytest.raises(Unauthenticated):
        known.check(presented, "use")


@pytest.mark.parametrize("place", [0, 5, 20, 47])
def test_a_key_with_one_wrong_character_is_not_known(place: int) -> None:
    key, kept = made()
    other = "A" if key[place] != "A" else "B"
    assert Keys([kept]).find(f"Bearer {key[:place]}{other}{key[place + 1 :]}") is None


def test_the_digest_of_a_key_is_no_key() -> None:
    _, kept = made()
    assert Keys([kept]).find(f"Bearer {kept.sha256}") is None


def test_a_key_is_for_its_scopes_alone() -> None:
    user, of_user = made("user")
    manager, of_manager = made("manager", scopes=("manage",))
    both, of_both = made("both", scopes=("use", "manage"))
    known = Keys([of_user, of_manager, of_both])
    for key in (user, both):
        known.check(f"Bearer {key}", "use")
    for key in (manager, both):
        known.check(f"Bearer {key}", "manage")
    with pytest.raises(PermissionDenied, match="`manage`"):
        known.check(f"Bearer {user}", "manage")
    with pytest.raises(PermissionDenied, match="`use`"):
        known.check(f"Bearer {manager}", "use")


def test_an_error_holds_neither_the_key_nor_its_name() -> None:
    key, kept = made("a-name")
    known = Keys([kept])
    with pytest.raises(PermissionDenied) as denied:
        known.check(f"Bearer {key}", "manage")
    with pytest.raises(Unauthenticated) as refused:
        known.check(f"Bearer {key}x", "use")
    for error in (denied.value, refused.value):
        assert key not in error.detail
        assert "a-name" not in error.detail


def test_keys_that_are_replaced_end() -> None:
    (old, of_old), (new, of_new) = made("old"), made("new")
    known = Keys([of_old])
    known.replace([of_new])
    assert known.find(f"Bearer {old}") is None
    assert known.find(f"Bearer {new}") == of_new
    assert (known.of(of_old.sha256), known.of(of_new.sha256), len(known)) == (None, of_new, 1)


def test_what_is_kept_is_the_sha256() -> None:
    assert (
        digest_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-2
