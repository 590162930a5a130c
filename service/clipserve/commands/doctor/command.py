"""The command `clipserve doctor`, which imports the checks when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipserve import __version__
from clipserve.commands.doctor.context import Context, context_here
from clipserve.commands.doctor.findings import LEVELS, Check, Outcome
from clipserve.commands.doctor.secrets import Secrets
from clipserve.commands.doctor.software import installed
from clipserve.commands.printing import say, say_json, say_table
from clipserve.commands.reading import BadSettings, fail
from clipserve.telemetry import log

if TYPE_CHECKING:  # it loads an HTTP client
    from clipserve.client.server import Server

FORMAT = 1  # version of the JSON; a new field does not change it
_WRONG_USE = 2
_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}
_WIDTHS = (len("problem"), len("settings"))


def doctor(
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="One object of JSON, for programs and bug reports: no secrets, no images."
        ),
    ] = False,
    url: Annotated[str | None, typer.Option(help="Check a running server, not this machine.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="CLIPSERVE_KEY", help="With --url: a key that the server knows.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="With --url: certificates to trust, PEM.", exists=True, dir_okay=False)
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Run only this check; repeatable.")] = None,
) -> None:
    """Find problems, and say what to do. Exit status: 0 without a problem, 1 with one, 2 for wrong usage."""
    from clipserve.commands.doctor.checks import (  # loads an HTTP client
        BEYOND_HERE,
        BEYOND_THERE,
        HERE,
        THERE,
    )

    log.configure("CRITICAL")  # the checks report what engines log
    if url is None and ca_file:
        fail("--ca-file is for --url", status=_WRONG_USE)
    secrets = Secrets(os.environ, *([key] if key else []))
    there_are, beyond = (HERE, BEYOND_HERE) if url is None else (THERE, BEYOND_THERE)
    checks = _chosen(there_are, only)
    left_out = [check.name for check in there_are if check not in checks]
    not_checked = [*([", ".join(left_out)] if left_out else []), *beyond]
    context = _context(secrets) if url is None else _server(url, key, ca_file)
    outcomes = _run(checks, context, secrets, quiet=json)
    levels = [line.level for outcome in outcomes for line in outcome.lines]
    if json:
        say_json(secrets.hide(_report(context, outcomes, levels) | {"not_checked": not_checked}), indent=2)
    else:
        for each in not_checked:
            say(f"not checked: {each}")
        say(f"problems: {levels.count('problem')}, warnings: {levels.count('warning')}")
    _end(int("problem" in levels), hangs=not all(outcome.ended for outcome in outcomes))


def _chosen(checks: Sequence[Check], only: list[str] | None) -> list[Check]:
    names = [check.name for check in checks]
    if unknown := set(only or ()) - set(names):
        fail(f"--only {min(unknown)}: no such check. There are: {', '.join(names)}", status=_WRONG_USE)
    return [check for check in checks if not only or check.name in only]


def _context(secrets: Secrets) -> Context:
    try:
        return context_here()
    except BadSettings as error:
        fail(*map(secrets.hide, error.reasons))


def _server(url: str, key: str | None, ca_file: Path | None) -> Server:
    from clipserve.client.address import check_address
    from clipserve.client.errors import BadAddress
    from clipserve.client.server import Server

    try:
        check_address(url)
    except BadAddress:
        fail("--url: write http://host:port, or https://", status=_WRONG_USE)
    return Server(url, key, ca_file, seconds=5.0)


def _run(checks: Sequence[Check], context: object, secrets: Secrets, *, quiet: bool) -> list[Outcome]:
    """Run checks one after the other, because the self-test is timed; print each result, unless `quiet`."""
    outcomes = []
    for check in checks:
        outcome = check.run(context)
        outcomes.append(outcome)
        if not quiet:
            rows = []
            for line in outcome.lines:
                rows.append([line.level, check.name, secrets.hide(line.found)])
                rows += [["", "", f"-> {secrets.hide(line.do)}"]] if line.do else []
            say_table(rows, widths=_WIDTHS, styles=_STYLES)
    return outcomes


def _report(context: Context | Server, outcomes: list[Outcome], levels: list[Any]) -> dict[str, Any]:
    """See docs/doctor.md."""
    report = {
        "format": FORMAT,
        "clipserve": __version__,
        "examined": "this machine" if isinstance(context, Context) else context.shown,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "level": max(levels, key=LEVELS.index, default="ok"),
        "counts": {level: levels.count(level) for level in LEVELS},
        "checks": [asdict(outcome) for outcome in outcomes],
    }
    if isinstance(context, Context):
        report |= {"settings": context.settings.model_dump(mode="json"), "packages": installed()}
    return report


def _end(status: int, *, hangs: bool) -> None:
    """End the process even if a check hangs: libraries would wait for their threads."""
    if hangs:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    raise typer.Exit(status)
