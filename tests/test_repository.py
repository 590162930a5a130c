"""What the forge runs: the programs of a release, on copies of what they read, and the stages of CI."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from clipserve import __version__
from tests.support.process import ROOT

OLDER = "## 0.0.1 - 2026-01-01\n"
CHANGELOG = (
    f"# Changelog\n\n## Unreleased\n\n## {__version__} - 2026-12-01\n\n### Added\n\n- It is there.\n\n{OLDER}"
)


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("tag", "changelog", "said"),
    [
        pytest.param(f"v{__version__}", CHANGELOG, "### Added\n\n- It is there.\n", id="notes"),
        pytest.param("v9.9.9", CHANGELOG, f"the tag v9.9.9 is not v{__version__}", id="another version"),
        pytest.param(f"v{__version__}", "## Unreleased\n", "CHANGELOG.md has no section", id="no section"),
    ],
)
def test_a_tag_gets_its_section_of_the_changelog_or_is_refused(
    tmp_path: Path, tag: str, changelog: str, said: str
) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "service/clipserve").mkdir(parents=True)
    shutil.copy(ROOT / "service/clipserve/__init__.py", tmp_path / "service/clipserve")
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    done = run(".ci/release", tag, cwd=tmp_path)
    assert (done.stdout or done.stderr).startswith(said)
    assert (done.returncode == 0) is said.startswith("###")


def test_ci_refuses_a_stage_that_is_none_and_its_workflow_runs_all_that_are() -> None:
    refused = run(".ci/run", "check", "nonsense", cwd=ROOT)
    told, _, stages = refused.stderr.partition("; the stages: ")
    assert (refused.returncode, told) == (2, "'nonsense' is no stage of .ci/run")
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert sorted(ci["jobs"]["stage"]["strategy"]["matrix"]["stage"]) == sorted(stages.split())


def test_packages_are_published_when_somebody_approves_and_ci_has_passed() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    publishing = [name for name, job in jobs.items() if "gh-action-pypi-publish" in str(job)]
    assert publishing == [name for name, job in jobs.items() if "environment" in job]
    needed = list(publishing)
    for name in needed:  # it grows meanwhile
        needs = jobs[name].get("needs", [])
        needed += [each for each in ([needs] if isinstance(needs, str) else needs) if each not in needed]
    assert "ci" in needed
