"""From a repository's name to the first answer, from nothing, in an environment without PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import httpx
import pytest

from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.hub.repositories import LAYOUTS
from tests.process import LIGHT, ROOT, Fresh

pytestmark = pytest.mark.slow


def first_answer(name: str) -> str:
    """The fingerprint of a service that was just started."""
    service = Fresh(models=name, **LIGHT)
    service.wait_ready(300)
    answer = httpx.post(
        service.url + "/classify",
        files={"image": (ROOT / "docs/cat.jpg").read_bytes()},
        data={"labels": ["a cat", "a dog"], "model": name},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert service.stop()[0] == 0
    return str(answer.json()["fingerprint"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repository_is_served_by_its_name(layout: str, hub: LocalHub, tmp_path: Path) -> None:
    assert importlib.util.find_spec("torch") is None
    LAYOUTS[layout](tmp_path / "repository")
    hub.repos["org/name"] = Repo.of(tmp_path / "repository")
    fingerprint = first_answer("org/name")
    hub.repos.clear()
    assert first_answer("org/name") == fingerprint  # without a hub
    assert fingerprint.startswith("org--name@fp32-")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["org--name"]
