"""The files that a forge reads: workflows and templates."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def test_ci_refuses_a_stage_that_is_none_and_its_workflow_runs_all_that_are() -> None:
    refused = subprocess.run(
        [ROOT / ".ci/run", "check", "nonsense"], capture_output=True, text=True, timeout=300, check=False
    )
    told, _, stages = refused.stderr.partition("; the stages: ")
    assert (refused.returncode, told) == (2, "'nonsense' is no stage of .ci/run")
    matrix = load(ROOT / ".github/workflows/ci.yml")["jobs"]["stage"]["strategy"]["matrix"]
    assert matrix["stage"] == stages.split()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_its_jobs_end(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    own = {name: job for name, job in workflow["jobs"].items() if "uses" not in job}
    assert {name for name, job in own.items() if "timeout-minutes" not in job} == set()


def _listed(needs: str | list[str]) -> list[str]:
    return [needs] if isinstance(needs, str) else needs


def test_packages_are_published_when_somebody_approves_and_ci_has_passed() -> None:
    jobs = load(ROOT / ".github/workflows/release.yml")["jobs"]
    publishing = [name for name, job in jobs.items() if "gh-action-pypi-publish" in str(job)]
    assert publishing == [name for name, job in jobs.items() if "environment" in job]
    needed = set(publishing)
    while more := {need for name in needed for need in _listed(jobs[name].get("needs", []))} - needed:
        needed |= more
    assert "ci" in needed


def test_dependabot_looks_where_there_is_something() -> None:
    manifests = {
        "docker-compose": "docker-compose.yml",
        "github-actions": ".github/workflows",
        "npm": "package-lock.json",
    }
    for each in load(ROOT / ".github/dependabot.yml")["updates"]:
        assert (ROOT / each["directory"].strip("/") / manifests[each["package-ecosystem"]]).exists(), each
