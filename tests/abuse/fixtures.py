"""One victim for all attacks of a session, and attacks as cases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.abuse.attack import Attack
from tests.abuse.victim import Victim


@pytest.fixture(scope="session")
def victim() -> Iterator[Victim]:
    """A running service with the demo model, on onnxruntime."""
    yield from opened(Victim(backend="onnx"))


@pytest.fixture(scope="session")
def patient_victim() -> Iterator[Victim]:
    """The same, which refuses nothing because a machine is busy, where that is not what is tested."""
    yield from opened(Victim(backend="onnx", deadline_seconds=60, max_queue_seconds=60))


@pytest.fixture(scope="session")
def keyed_victim() -> Iterator[Victim]:
    """The same, which asks for keys."""
    yield from opened(Victim(backend="onnx", keyed=True))


def opened(victim: Victim) -> Iterator[Victim]:
    """It must live until its tests have ended, and end in order."""
    yield victim
    assert victim.close() == 0
    assert victim.deaths == 0


def named(attacks: list[Attack]) -> pytest.MarkDecorator:
    cases = [
        pytest.param(attack, id=attack.id, marks=[pytest.mark.nightly] * attack.nightly) for attack in attacks
    ]
    return pytest.mark.parametrize("attack", cases)
