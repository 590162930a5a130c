"""The doctor, asked as a user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from clipserve.__main__ import cli
from tests.process import ROOT


@dataclass(frozen=True)
class Told:
    """What it said: exit status, JSON, and all that it wrote."""

    status: int
    report: dict[str, Any]
    output: str

    def lines(self, level: str | None = None) -> list[dict[str, Any]]:
        """Those of this level, or all."""
        return [
            {"check": check["name"], **line}
            for check in self.report["checks"]
            for line in check["lines"]
            if level in (None, line["level"])
        ]

    def only(self, level: str) -> dict[str, Any]:
        """The one line that is not ok."""
        bad = [line for line in self.lines() if line["level"] != "ok"]
        assert [line["level"] for line in bad] == [level], self.output
        assert bad[0]["do"]
        return bad[0]


def doctor(*words: str, **settings: object) -> Told:
    """In this process. `settings` are variables without CLIPSERVE_."""
    told = CliRunner().invoke(cli, ["doctor", "--json", *words], env=variables(settings))
    assert told.exit_code in (0, 1), told.output
    return Told(told.exit_code, json.loads(told.stdout), told.output)


def doctor_process(*words: str, prefix: tuple[str, ...] = (), **settings: object) -> Told:
    """A process of its own, which `prefix` starts."""
    ended = subprocess.run(
        [*prefix, sys.executable, "-m", "clipserve", "doctor", "--json", *words],
        cwd=ROOT,
        env=os.environ | variables(settings),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode in (0, 1), ended.stderr
    return Told(ended.returncode, json.loads(ended.stdout), ended.stdout + ended.stderr)


def variables(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"CLIPSERVE_{name.upper()}": str(value) for name, value in settings.items()}
