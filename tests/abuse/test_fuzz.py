"""How cases are judged, requests at each route, and the cases that once were findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.abuse.fuzz.answers_target import Answers
from tests.abuse.fuzz.cases import CORPUS, parts_of
from tests.abuse.fuzz.fuzzing import fuzz, judged
from tests.abuse.fuzz.targets import TARGETS, Requests, Target

FOUND = sorted((CORPUS / "found").glob("*/*"))


@contextmanager
def opened(name: str) -> Iterator[Target]:
    target = TARGETS[name]()
    yield target
    if isinstance(target, Requests | Answers):
        target.close()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("answers", {"200", "400", "404", "405", "415", "421"}),
        ("images", {"decoded", "undecodable_image", "image_too_large"}),
    ],
)
def test_odd_requests_and_images_have_their_answers(name: str, told: set[str]) -> None:
    with opened(name) as target:
        assert told <= fuzz(name, target, 1_200).keys()


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_is_no_finding_now(path: Path) -> None:
    with opened(path.parent.name) as target:
        judged(target, path.read_bytes())


def test_a_finding_is_shrunk_to_what_it_needs() -> None:
    class Broken:
        cases = st.binary(max_size=300)

        def run(self, case: bytes) -> str:
            return str(1 // (b"\xff" not in case))

    with pytest.raises(ZeroDivisionError) as raised:
        fuzz("broken", Broken(), 1_000)
    assert any(r"case=b'\xff'" in note for note in raised.value.__notes__)


@pytest.mark.parametrize("path", [*(CORPUS / "images").iterdir()], ids=lambda path: path.name)
def test_the_parts_of_a_file_make_it_again(path: Path) -> None:
    join, parts = parts_of(path.read_bytes())
    again = join(parts)
    assert len(again) == pytest.approx(path.stat().st_size, rel=0.1)  # zlib may pack otherwise
    assert judged(TARGETS["images"](), again) == "decoded"
