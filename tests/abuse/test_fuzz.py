"""How cases are judged, requests at each route, and the cases that once were findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.abuse.fuzz.answers_target import Answers
from tests.abuse.fuzz.cases import CORPUS
from tests.abuse.fuzz.fuzzing import fuzz, judged
from tests.abuse.fuzz.targets import TARGETS, Target

FOUND = sorted((CORPUS / "found").glob("*/*"))


@contextmanager
def opened(name: str) -> Iterator[Target]:
    target = TARGETS[name]()
    yield target
    if isinstance(target, Answers):
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
