"""`clipserve doctor`: what is wrong here, or at a server, and what to do. It loads the checks when it is called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipserve.commands.printing import say
from clipserve.commands.reading import BadSettings, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipserve.commands.doctor.checking import Check
    from clipserve.commands.doctor.context import Context
    from clipserve.commands.doctor.findings import Report
    from clipserve.commands.doctor.remote import Remote
    from clipserve.commands.doctor.secrets import Secrets

_WRONG_USE = 2


def doctor(
    json_: Annotated[
        bool, typer.Option("--json", help="One object of JSON; docs/doctor.md has its shape.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="Examine a server that runs, in place of this machine.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="CLIPSERVE_KEY", help="With --url: a key that the server knows.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="With --url: certificates to trust, PEM.", exists=True, dir_okay=False)
    ] = None,
    operations_url: Annotated[
        str | None,
        typer.Option(help="With --url: its operations port, http://host:8082; it is not asked otherwise."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Run this check alone; repeatable.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Write a file for a bug report, .zip or .tar.gz: no secrets, no images.", dir_okay=False
        ),
    ] = None,
) -> None:
    """Say what is wrong here, and what to do. Exit status: 0 without a problem, 1 with one, 2 for wrong use."""
    from clipserve.telemetry import log

    log.configure("CRITICAL")  # what engines log is told by the checks
    _check_use(url, ca_file, operations_url, bundle)
    secrets = _secrets(key)
    context = None
    if url is None:
        context = _context(secrets)
        report = _run(context, "this machine", only, secrets, as_json=json_)
    else:
        remote = _remote(url, key, ca_file, operations_url)
        report = _run(remote, remote.server.shown, only, secrets, as_json=json_)
    if bundle:
        _write(bundle, report, context, secrets)
    _end(report)


def _check_use(
    url: str | None, ca_file: Path | None, operations_url: str | None, bundle: Path | None
) -> None:
    from clipserve.commands.doctor.bundle import SUFFIXES

    if bundle and not bundle.name.endswith(SUFFIXES):
        fail(f"--bundle {bundle}: the name must end with {' or '.join(SUFFIXES)}", status=_WRONG_USE)
    if url is None and (ca_file or operations_url):
        fail("--ca-file and --operations-url are for --url", status=_WRONG_USE)


def _context(secrets: Secrets) -> Context:
    from clipserve.commands.doctor.context import context_here

    try:
        return context_here()
    except BadSettings as error:
        fail(*map(secrets.hide, error.reasons))


def _write(bundle: Path, report: Report, context: Context | None, secrets: Secrets) -> None:
    from clipserve.commands.doctor.bundle import write

    try:
        write(bundle, report, context, secrets)
    except OSError as error:
        fail(f"--bundle {bundle}: {(error.strerror or 'cannot be written').lower()}", status=_WRONG_USE)
    say(f"wrote {bundle}: look into it before you send it", err=True)


def _run(
    context: Context | Remote,
    examined: str,
    only: list[str] | None,
    secrets: Secrets,
    *,
    as_json: bool,
) -> Report:
    """Each outcome is printed when it is there, unless JSON is wanted."""
    import json
    from datetime import UTC, datetime

    from clipserve import __version__
    from clipserve.commands.doctor.checking import run_checks
    from clipserve.commands.doctor.context import Context
    from clipserve.commands.doctor.findings import Report
    from clipserve.commands.doctor.rendering import lines_of, summary
    from clipserve.commands.doctor.table import HERE, THERE

    checks: Sequence[Check[Any]] = HERE if isinstance(context, Context) else THERE
    names = [check.name for check in checks]
    if unknown := set(only or ()) - set(names):
        fail(f"--only {sorted(unknown)[0]}: no such check. There are: {', '.join(names)}", status=_WRONG_USE)
    report = Report(__version__, secrets.hide(examined), datetime.now(UTC).isoformat(timespec="seconds"))
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for outcome in run_checks([check for check in checks if not only or check.name in only], context):
        hidden = secrets.hide_in(outcome)
        report.outcomes.append(hidden)
        if not as_json:
            for line in lines_of(hidden, colour=colour):
                typer.echo(line)  # with colours, around what is visible
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else summary(report))
    return report


def _secrets(key: str | None) -> Secrets:
    from clipserve.commands.doctor.secrets import Secrets

    return Secrets(os.environ, *([key] if key else []))


def _remote(url: str, key: str | None, ca_file: Path | None, operations_url: str | None) -> Remote:
    from clipserve.client.address import check_address, keeps_secrets
    from clipserve.client.errors import BadAddress
    from clipserve.client.server import Server
    from clipserve.commands.doctor.remote import Remote

    def server(name: str, url: str, seconds: float) -> Server:
        try:
            check_address(url)
        except BadAddress:
            fail(f"{name}: write http://host:port, or https://", status=_WRONG_USE)
        return Server(url, key if keeps_secrets(url) else None, ca_file, seconds)

    operations = None if operations_url is None else server("--operations-url", operations_url, 3.0)
    asked = server("--url", url, 5.0)
    return Remote(asked, operations, withheld=bool(key) and asked.key is None)


def _end(report: Report) -> None:
    """A check that hangs must not keep the process: libraries wait for their threads at its end."""
    status = int(report.level == "problem")
    if not all(outcome.ended for outcome in report.outcomes):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    raise typer.Exit(status)
