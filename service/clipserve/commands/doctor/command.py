"""The command `clipserve doctor`: a start without serving, and what a start cannot say."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any

import typer

from clipserve import __version__
from clipserve.commands.doctor.secrets import Secrets
from clipserve.commands.printing import say, say_json

FORMAT = 2  # version of the JSON; a new field does not change it


def doctor(
    json: Annotated[
        bool,
        typer.Option("--json", help="One object of JSON, for programs and bug reports, without secrets."),
    ] = False,
    url: Annotated[str | None, typer.Option(help="Check a running server, not this machine.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="CLIPSERVE_KEY", help="With --url: a key that the server knows.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="With --url: certificates to trust, PEM.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Start without serving, find problems, and say what to do.

    Exit status: 0 without a problem, 1 with one, 2 for wrong usage.
    """
    from clipserve.commands.doctor.findings import here, there, unreadable  # they load what serves
    from clipserve.settings import BadSettings, read_settings

    secrets = Secrets(os.environ, *([key] if key else []))
    report: dict[str, Any] = {"format": FORMAT, "clipserve": __version__, "examined": url or "this machine"}
    report["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        if url is not None:
            found = there(url.rstrip("/"), key, ca_file)
        else:
            settings = read_settings()
            report["settings"], found = settings.model_dump(mode="json"), here(settings)
    except BadSettings as error:
        found = unreadable(error)
    shown = []
    for finding in found:
        shown.append(finding)
        if not json:
            say(finding.level, finding.name, secrets.hide(finding.found))
        if finding.do and not json:
            say("", "", f"-> {secrets.hide(finding.do)}")
    problems, warnings = (sum(each.level == level for each in shown) for level in ("problem", "warning"))
    if json:
        report |= {"level": "problem" if problems else "warning" if warnings else "ok"}
        whole = report | {"findings": [each._asdict() for each in shown]}
        say_json(loads(secrets.hide(dumps(whole, ensure_ascii=False))), indent=2)
    else:
        say(f"problems: {problems}, warnings: {warnings}")
    raise typer.Exit(int(problems > 0))
