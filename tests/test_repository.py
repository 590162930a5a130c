"""What the forge runs: the programs of a release, on copies of what they read, and the stages of CI."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from clipserve import __version__
from tests.process import ROOT

OLDER = "## 0.0.1 - 2026-01-01\n"
CHANGELOG = (
    f"# Changelog\n\n## Unreleased\n\n## {__version__} - 2026-12-01\n\n### Added\n\n- It is there.\n\n{OLDER}"
)


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the programs of a release, what they read, and a remote."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    (folder / "service/clipserve").mkdir(parents=True)
    shutil.copy(ROOT / "service/clipserve/__init__.py", folder / "service/clipserve")
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    run("git", "init", "--quiet", "--bare", tmp_path / "remote", cwd=tmp_path)
    add_remote = f"remote add origin {tmp_path}/remote"
    for words in ("init --quiet", "add .", "commit --quiet --message first", add_remote):
        command = ("git", "-c", "user.name=a", "-c", "user.email=a@localhost", *words.split())
        assert run(*command, cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("tag", "changelog", "said"),
    [
        pytest.param(f"v{__version__}", CHANGELOG, "### Added\n\n- It is there.\n", id="notes"),
        pytest.param("v9.9.9", CHANGELOG, f"the tag v9.9.9 is not v{__version__}", id="another version"),
        pytest.param(
            f"v{__version__}", "## Unreleased\n", "CHANGELOG.md has no section", id="not in the changelog"
        ),
    ],
)
def test_a_tag_gets_its_section_of_the_changelog_or_is_refused(
    checkout: Path, tag: str, changelog: str, said: str
) -> None:
    (checkout / "CHANGELOG.md").write_text(changelog)
    done = run(".ci/release", tag, cwd=checkout)
    assert (done.stdout or done.stderr).startswith(said)
    assert (done.returncode == 0) is said.startswith("###")


def test_each_version_of_the_documents_is_a_folder_and_the_newest_comes_first(checkout: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.9.0"):
        page = checkout / ".site/html/index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"{version}, {page.exists()}")
        done = run(".ci/site", version, cwd=checkout)
        assert done.returncode == 0, done.stderr
    run("git", "clone", "--quiet", "--branch", "gh-pages", "remote", "pages", cwd=checkout.parent)
    pages = checkout.parent / "pages"
    assert (pages / "0.9.0/index.html").read_text() == "0.9.0, True"  # the later of the two
    assert "url=0.10.0/" in (pages / "index.html").read_text()
    listed = json.loads((pages / "versions.json").read_text())
    assert [entry["version"] for entry in listed] == ["0.10.0", "0.9.0"]


def test_ci_refuses_a_stage_that_is_none_and_its_workflow_runs_all_that_are() -> None:
    refused = run(".ci/run", "check", "nonsense", cwd=ROOT)
    told, _, stages = refused.stderr.partition("; the stages: ")
    assert (refused.returncode, told) == (2, "'nonsense' is no stage of .ci/run")
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert ci["jobs"]["stage"]["strategy"]["matrix"]["stage"] == stages.split()


def test_packages_are_published_when_somebody_approves_and_ci_has_passed() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    publishing = [name for name, job in jobs.items() if "gh-action-pypi-publish" in str(job)]
    assert publishing == [name for name, job in jobs.items() if "environment" in job]
    needed = list(publishing)
    for name in needed:  # it grows meanwhile
        needs = jobs[name].get("needs", [])
        needed += [each for each in ([needs] if isinstance(needs, str) else needs) if each not in needed]
    assert "ci" in needed
