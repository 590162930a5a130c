"""A thousand cases of each kind, nightly three; FUZZ=20000 runs as many, and others each time."""

from __future__ import annotations

import os

import pytest

from tests.abuse.fuzz.fuzzing import fuzz
from tests.abuse.fuzz.targets import TARGETS
from tests.abuse.test_fuzz import opened

MORE = int(os.environ.get("FUZZ", "0"))


@pytest.mark.parametrize("executions", [MORE or 1_000, pytest.param(3_000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", TARGETS)
def test_odd_inputs_are_served_or_refused(name: str, executions: int) -> None:
    with opened(name) as target:
        words = fuzz(name, target, executions, other_cases=bool(MORE))
    print(name, dict(words))
    assert words.total() >= executions
    assert len(words) > 1, "what is all refused for one reason tests little"
