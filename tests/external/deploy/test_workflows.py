"""Workflows of the forge are what actionlint takes for right, and let nobody do what zizmor warns of."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.deploy.manifests import ROOT, TOOLS


def by_tag(folder: Path) -> list[Path]:
    """The workflows with the tags of their actions in place of commits, of which actionlint knows no inputs."""
    copies = []
    for workflow in sorted((ROOT / ".github/workflows").glob("*.yml")):
        copies.append(folder / workflow.name)
        copies[-1].write_text(re.sub(r"@[0-9a-f]{40} # (v\d+)\S*", r"@\1", workflow.read_text()))
    return copies


def complaints(*workflows: Path) -> str:
    command = [f"{TOOLS}/bin/actionlint", "-oneline", *map(str, workflows)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False).stdout


def dangers(folder: Path) -> str:
    """Without asking the forge."""
    command = [
        f"{TOOLS}/bin/zizmor",
        "--offline",
        "--no-progress",
        "--quiet",
        "--format",
        "github",
        str(folder),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False).stdout


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    workflows = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert workflows
    assert complaints(*workflows, *by_tag(tmp_path)) == ""


def test_actionlint_knows_the_inputs_of_an_action(tmp_path: Path) -> None:
    workflow = by_tag(tmp_path)[0]
    workflow.write_text(workflow.read_text().replace("persist-credentials", "persist_credentials"))
    assert 'input "persist_credentials" is not defined in action' in complaints(workflow)


def test_zizmor_finds_nothing() -> None:
    assert dangers(ROOT / ".github") == ""


def test_zizmor_finds_credentials_that_stay(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    workflow = tmp_path / ".github/workflows/ci.yml"
    workflow.write_text(workflow.read_text().replace("persist-credentials: false", "fetch-depth: 1"))
    assert "credential persistence" in dangers(tmp_path / ".github")
