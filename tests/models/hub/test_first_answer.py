"""From the names of repositories to first answers, from nothing, in an environment without PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import httpx
import pytest

from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.written import LAYOUTS
from tests.process import LIGHT, PATIENT, ROOT, Fresh


def first_answers(names: list[str]) -> list[str]:
    """The fingerprints of a service that was just started."""
    service = Fresh(models=",".join(names), **LIGHT, **PATIENT)
    service.wait_ready(300)
    answers = [
        httpx.post(
            service.url + "/classify",
            files={"image": (ROOT / "docs/cat.jpg").read_bytes()},
            data={"labels": ["a cat", "a dog"], "model": name},
            timeout=60,
        )
        for name in names
    ]
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert service.stop()[0] == 0
    return [str(answer.json()["fingerprint"]) for answer in answers]


@pytest.mark.slow
def test_a_repository_of_each_layout_is_served_by_its_name(hub: LocalHub, tmp_path: Path) -> None:
    assert importlib.util.find_spec("torch") is None
    for layout, write in LAYOUTS.items():
        write(tmp_path / layout)
        hub.repos[f"org/{layout}"] = Repo.of(tmp_path / layout)
    names = [*hub.repos]
    fingerprints = first_answers(names)
    hub.repos.clear()
    assert first_answers(names[-1:]) == fingerprints[-1:]  # without a hub
    for layout, fingerprint in zip(LAYOUTS, fingerprints, strict=True):
        assert fingerprint.startswith(f"org--{layout}@fp32-")
    made = {path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()}
    assert made == {f"org--{layout}" for layout in LAYOUTS}, "and nothing half"
