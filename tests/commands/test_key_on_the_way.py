"""A key goes nowhere but where it belongs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from clipserve.client.index import Facts, Index
from tests.commands.hostile import CAT, WORDS, good_but, run, serving

KEY = "cs_planted-a5ec12e7"
WITH_KEY: dict[str, list[str]] = {
    "classify": WORDS["classify"],
    "embed": ["embed", str(CAT), "--index", "PLACE"],
    "search": ["search", "PLACE", "a cat"],
    "label-sets": WORDS["list"],
    "doctor": ["doctor"],
}


@pytest.mark.parametrize("words", WITH_KEY.values(), ids=WITH_KEY)
def test_no_key_goes_over_http_to_another_machine(words: list[str], tmp_path: Path) -> None:
    with closing(Index(tmp_path / "a.sqlite")) as index:
        index.begin(Facts("toy", "toy@1", 2))
    words = [str(tmp_path / "a.sqlite") if each == "PLACE" else each for each in words]
    # Every request of the command comes here, whatever its host.
    with serving(good_but({})) as (proxy, requests):
        done = run(*words, "--url", "http://clip.example.com", CLIPSERVE_KEY=KEY, http_proxy=proxy)
    assert done.status == 1
    assert "the key is not sent to" in done.all
    assert "https" in done.all
    assert not [each for each in requests if KEY.encode() in each or b"authorization" in each.lower()]


def test_the_doctor_asks_no_address_that_is_not_named() -> None:
    with serving(good_but({})) as (url, requests), serving(good_but({})) as (proxy, strays):
        run("doctor", "--url", url, CLIPSERVE_KEY=KEY, http_proxy=proxy, https_proxy=proxy)
        assert all(f"Bearer {KEY}".encode() in each for each in requests)  # on this machine it is sent
        assert requests
        assert strays == [], "a key for this machine goes through no proxy"
        told = run("doctor", "--url", "https://127.0.0.1:1", CLIPSERVE_KEY=KEY, http_proxy=proxy)
    assert "cannot be asked" in told.output
    assert strays == []
