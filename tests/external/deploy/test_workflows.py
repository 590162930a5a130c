"""Workflows of the forge are what actionlint takes for right, and let nobody do what zizmor warns of."""

from __future__ import annotations

import re
from pathlib import Path

from tools.manifests import BIN, ROOT, run

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def by_tag(folder: Path) -> list[Path]:
    """The workflows with the tags of their actions in place of commits, of which actionlint knows no inputs."""
    copies = []
    for workflow in WORKFLOWS:
        copies.append(folder / workflow.name)
        copies[-1].write_text(re.sub(r"@[0-9a-f]{40} # (v\d+)\S*", r"@\1", workflow.read_text()))
    return copies


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    assert WORKFLOWS
    run(BIN / "actionlint", "-oneline", *WORKFLOWS, *by_tag(tmp_path))


def test_zizmor_finds_nothing() -> None:
    """Without asking the forge."""
    run(BIN / "zizmor", "--offline", "--no-progress", "--quiet", ROOT / ".github")
