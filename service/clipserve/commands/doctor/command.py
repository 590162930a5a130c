"""The command `clipserve doctor`, which imports the checks when it is called."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipserve import __version__
from clipserve.commands.doctor.context import Context, context_here
from clipserve.commands.doctor.findings import LEVELS, Check, Level, Outcome, worst
from clipserve.commands.doctor.secrets import Secrets
from clipserve.commands.doctor.software import installed
from clipserve.commands.printing import say, say_json, say_table
from clipserve.commands.running import WRONG_USE, fail
from clipserve.telemetry import log

if TYPE_CHECKING:  # it loads an HTTP client
    from clipserve.client.server import Server

FORMAT = 1  # version of the JSON; a new field does not change it
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
    from clipserve.commands.doctor import checks  # loads an HTTP client

    log.configure("CRITICAL")  # the checks report what engines log
    secrets = Secrets(os.environ, *([key] if key else []))
    if url is not None:
        table, beyond = checks.THERE, checks.BEYOND_THERE
    elif ca_file is None:
        table, beyond = checks.HERE, checks.BEYOND_HERE
    else:
        fail("--ca-file is for --url", status=WRONG_USE)
    chosen = _chosen(table, only)
    left_out = ", ".join(check.name for check in table if check not in chosen)
    not_checked = [left_out, *beyond] if left_out else [*beyond]
    context = context_here() if url is None else _server(url, key, ca_file)
    outcomes = _run(chosen, context, secrets, quiet=json)
    counts = Counter(line.level for outcome in outcomes for line in outcome.lines)
    if json:
        report = _report(context, outcomes, counts)
        say_json(secrets.hide(report | {"not_checked": not_checked}), indent=2)
    else:
        for subject in not_checked:
            say(f"not checked: {subject}")
        say(f"problems: {counts['problem']}, warnings: {counts['warning']}")
    status = int(counts["problem"] > 0)
    if not all(outcome.ended for outcome in outcomes):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # libraries would wait for the threads of a check that hangs
    raise typer.Exit(status)


def _chosen(checks: Sequence[Check], only: list[str] | None) -> list[Check]:
    names = [check.name for check in checks]
    if unknown := set(only or ()) - set(names):
        fail(f"--only {min(unknown)}: no such check. There are: {', '.join(names)}", status=WRONG_USE)
    return [check for check in checks if not only or check.name in only]


def _server(url: str, key: str | None, ca_file: Path | None) -> Server:
    from clipserve.client.address import check_address
    from clipserve.client.errors import BadAddress
    from clipserve.client.server import Server

    try:
        check_address(url)
    except BadAddress:
        fail("--url: write http://host:port, or https://", status=WRONG_USE)
    return Server(url, key, ca_file, seconds=5.0)


def _run(checks: Sequence[Check], context: object, secrets: Secrets, *, quiet: bool) -> list[Outcome]:
    """Run checks one after the other, because the self-test is timed; print each result, unless `quiet`."""
    outcomes = []
    for check in checks:
        outcome = check.run(context)
        outcomes.append(outcome)
        rows = []
        for line in outcome.lines:
            rows.append([line.level, check.name, secrets.hide(line.found)])
            rows += [["", "", f"-> {secrets.hide(line.do)}"]] if line.do else []
        if not quiet:
            say_table(rows, widths=_WIDTHS, styles=_STYLES)
    return outcomes


def _report(context: Context | Server, outcomes: list[Outcome], counts: Counter[Level]) -> dict[str, Any]:
    """See docs/doctor.md."""
    report = {
        "format": FORMAT,
        "clipserve": __version__,
        "examined": "this machine" if isinstance(context, Context) else context.shown,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "level": worst(line for outcome in outcomes for line in outcome.lines),
        "counts": {level: counts[level] for level in LEVELS},
        "checks": [asdict(outcome) for outcome in outcomes],
    }
    if isinstance(context, Context):
        report |= {"settings": context.settings.model_dump(mode="json"), "packages": installed()}
    return report
