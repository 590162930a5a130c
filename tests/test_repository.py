"""The files that a forge reads: workflows, templates, attributes."""

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
        [ROOT / ".ci/run", "check", "nonsense"], capture_output=True, text=True, timeout=60, check=False
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


def uses(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of an action, without its version -> what it is given."""
    return {
        step["uses"].partition("@")[0]: step.get("with", {})
        for step in job.get("steps", [])
        if "uses" in step
    }


def test_a_release_publishes_what_ci_has_passed_and_packages_when_somebody_approves() -> None:
    jobs = load(ROOT / ".github/workflows/release.yml")["jobs"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "ci": None,
        "dist": "ci",
        "image": "dist",
        "pypi": ["dist", "image"],
    }
    publishing = [name for name, job in jobs.items() if "pypa/gh-action-pypi-publish" in uses(job)]
    assert publishing == ["pypi"] == [name for name, job in jobs.items() if "environment" in job]
    attesting = [name for name, job in jobs.items() if "actions/attest-build-provenance" in uses(job)]
    assert attesting == ["dist", "image"]
    build = uses(jobs["image"])["docker/build-push-action"]
    assert (build["sbom"], build["provenance"]) == (True, "mode=max")


def test_dependabot_looks_where_there_is_something() -> None:
    manifests = {
        "docker-compose": "docker-compose.yml",
        "github-actions": ".github/workflows",
        "npm": "package-lock.json",
    }
    for each in load(ROOT / ".github/dependabot.yml")["updates"]:
        assert (ROOT / each["directory"].strip("/") / manifests[each["package-ecosystem"]]).exists(), each


def test_a_bug_comes_with_what_doctor_says() -> None:
    form = load(ROOT / ".github/ISSUE_TEMPLATE/bug.yml")["body"]
    required = [each["attributes"]["label"] for each in form if each.get("validations", {}).get("required")]
    assert "The output of `clipserve doctor`" in required


def attributes() -> dict[str, list[str]]:
    """Pattern of .gitattributes -> its attributes."""
    lines = (ROOT / ".gitattributes").read_text().splitlines()
    split = [line.split() for line in lines if line and not line.startswith("#")]
    return {pattern: given for pattern, *given in split}


@pytest.mark.parametrize("pattern", attributes())
def test_git_is_told_about_files_that_are_there(pattern: str) -> None:
    places = [pattern] if "/" in pattern else [f"{top}/**/{pattern}" for top in ("docs", "service", "tests")]
    assert any(True for place in places for _ in ROOT.glob(place)), pattern


def test_stubs_and_lock_files_are_known_to_be_generated() -> None:
    told = {pattern for pattern, given in attributes().items() if "linguist-generated" in given}
    generated = {path for pattern in told for path in ROOT.glob(pattern)}
    stubs = {path for path in (ROOT / "service").rglob("*_pb2*") if path.suffix in (".py", ".pyi")}
    assert stubs | set((ROOT / "requirements").iterdir()) <= generated
