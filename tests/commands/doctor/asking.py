"""The doctor, asked as a user does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from clipserve.__main__ import cli


@dataclass(frozen=True)
class Told:
    """What it said: exit status, JSON, and all that it wrote."""

    status: int
    report: dict[str, Any]
    output: str

    def lines(self, level: str | None = None) -> list[dict[str, Any]]:
        """Those of this level, or all."""
        return [each for each in self.report["findings"] if level in (None, each["level"])]

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


def variables(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"CLIPSERVE_{name.upper()}": str(value) for name, value in settings.items()}
