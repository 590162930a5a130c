"""How inputs are mutated, and those that once were findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.abuse.fuzz.answers_target import Answers
from tests.abuse.fuzz.run import shrunk
from tests.abuse.fuzz.seeds import CORPUS, formats, images
from tests.abuse.fuzz.targets import TARGETS, Requests, Target
from tests.abuse.fuzz.worker import case_of, judged

FOUND = sorted((CORPUS / "found").glob("*/*"))


@contextmanager
def opened(name: str) -> Iterator[Target]:
    target = TARGETS[name]()
    yield target
    if isinstance(target, Requests | Answers):
        target.close()


@pytest.mark.parametrize("name", TARGETS)
def test_a_case_is_known_by_its_number(name: str) -> None:
    with opened(name) as target:
        cases = [case_of(target, 0, number) for number in range(50)]
        assert cases == [case_of(target, 0, number) for number in range(50)]
        assert len(set(cases)) > 40


def test_every_request_has_an_answer_an_id_and_a_line_in_the_log() -> None:
    with opened("answers") as target:
        words = Counter(judged("answers", target, case_of(target, 2, number)) for number in range(1_500))
    assert {wrong for _, wrong in words} == {None}
    assert {"200", "400", "404", "405", "415", "421"} <= {word for word, _ in words}


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_is_no_finding_now(path: Path) -> None:
    with opened(path.parent.name) as target:
        assert judged(path.parent.name, target, path.read_bytes())[1] is None


def test_a_case_over_its_time_or_with_an_unknown_error_is_a_finding() -> None:
    class Broken:
        def case(self, random: object) -> bytes:
            return b""

        def run(self, case: bytes) -> str:
            return str(1 // len(case))

    assert "ZeroDivisionError" in str(judged("images", Broken(), b"")[1])
    assert judged("images", Broken(), b"a") == ("1", None)


def test_a_finding_is_shrunk_to_what_it_needs() -> None:
    assert shrunk(bytes(100) + b"bad" + bytes(99), lambda data: b"bad" in data) == b"bad"


def test_the_corpus_is_small_and_of_every_kind() -> None:
    for folder, made in (("images", images()), ("formats", formats())):
        assert {path.name for path in (CORPUS / folder).iterdir()} == set(made)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000
