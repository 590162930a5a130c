"""The programs of .github/workflows/release.yml, run on copies of what they read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clipserve import __version__
from tests.process import ROOT

SECTIONS = (
    "# Changelog",
    "## Unreleased",
    f"## {__version__} - 2026-12-01",
    "### Added",
    "- It is there.",
    "## 0.0.1 - 2026-01-01",
)
CHANGELOG = "\n\n".join(SECTIONS) + "\n"


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
    for words in (
        "init --quiet",
        "add .",
        "commit --quiet --message first",
        f"remote add origin {tmp_path}/remote",
    ):
        command = ("git", "-c", "user.name=a", "-c", "user.email=a@localhost", *words.split())
        assert run(*command, cwd=folder).returncode == 0
    return folder


def test_the_notes_of_a_release_are_its_section_of_the_changelog(checkout: Path) -> None:
    done = run(".ci/release", f"v{__version__}", cwd=checkout)
    assert (done.returncode, done.stdout) == (0, "### Added\n\n- It is there.\n"), done.stderr


def test_a_tag_that_is_not_the_version_or_not_in_the_changelog_is_refused(checkout: Path) -> None:
    assert run(".ci/release", "v9.9.9", cwd=checkout).stderr.startswith(
        f"the tag v9.9.9 is not v{__version__}"
    )
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    refused = run(".ci/release", f"v{__version__}", cwd=checkout)
    assert refused.returncode == 1
    assert f"no section '## {__version__} - YYYY-MM-DD'; its sections: Unreleased" in refused.stderr


def test_each_version_of_the_documents_is_a_folder_and_the_newest_comes_first(checkout: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.9.0", "0.9.0"):
        page = checkout / ".site/html/index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"{version}, {page.exists()}")
        done = run(".ci/site", version, cwd=checkout)
        assert done.returncode == 0, done.stderr
    run("git", "clone", "--quiet", "--branch", "gh-pages", "remote", "pages", cwd=checkout.parent)
    pages = checkout.parent / "pages"
    assert (pages / "0.9.0/index.html").read_text() == "0.9.0, True"  # the later of the two
    assert (pages / "0.10.0/index.html").read_text() == "0.10.0, True"
    assert "url=0.10.0/" in (pages / "index.html").read_text()
    listed = json.loads((pages / "versions.json").read_text())
    assert [entry["version"] for entry in listed] == ["0.10.0", "0.9.0"]


def test_every_action_is_pinned_by_a_commit_and_named_by_a_version() -> None:
    uses = [
        line.partition("uses: ")[2]
        for path in (ROOT / ".github/workflows").glob("*.yml")
        for line in path.read_text().splitlines()
        if "uses: " in line and "uses: ./" not in line
    ]
    assert uses
    assert [each for each in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []
