"""A thousand mutated inputs of each kind, nightly three."""

from __future__ import annotations

import pytest

from tests.abuse.fuzz.run import fuzz
from tests.abuse.fuzz.targets import TARGETS


@pytest.mark.parametrize("executions", [1_000, pytest.param(3_000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_are_served_or_refused(name: str, executions: int) -> None:
    result = fuzz(name, seed=1, executions=executions)
    assert result.findings == {}
    assert sum(result.words.values()) == executions
    assert len(result.words) > 1, "what is all refused for one reason tests little"
