"""The command `clipserve doctor`: a start without serving, and what a start cannot say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipserve import __version__
from clipserve.commands.doctor.secrets import Secrets
from clipserve.commands.printing import say, say_json
from clipserve.commands.running import WRONG_USE, fail

if TYPE_CHECKING:  # they load what serves
    from clipserve.commands.doctor.findings import Finding
    from clipserve.settings import Settings

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
    from clipserve.settings import BadSettings, read_settings

    secrets = Secrets(os.environ, *([key] if key else []))
    if ca_file is not None and url is None:
        fail("--ca-file is for --url", status=WRONG_USE)
    report: dict[str, Any] = {"format": FORMAT, "clipserve": __version__}
    report |= {"examined": "this machine", "at": datetime.now(UTC).isoformat(timespec="seconds")}
    if url is not None:
        if not url.lower().startswith(("http://", "https://")):
            fail("--url: write http://host:port, or https://", status=WRONG_USE)
        report["examined"], found = url, _there(url.rstrip("/"), key, ca_file)
    else:
        from clipserve.commands.doctor.findings import Finding

        try:
            settings = read_settings()
        except BadSettings as error:
            do = "correct it: the service does not start"
            found = (Finding("settings", "problem", reason, do) for reason in error.reasons)
        else:
            report["settings"], found = settings.model_dump(mode="json"), _here(settings)
    shown = []
    for finding in found:
        shown.append(finding)
        if not json:
            _say(finding, secrets)
    problems, warnings = (sum(each.level == level for each in shown) for level in ("problem", "warning"))
    if json:
        report |= {"level": "problem" if problems else "warning" if warnings else "ok"}
        say_json(secrets.hide(report | {"findings": [each._asdict() for each in shown]}), indent=2)
    else:
        say(f"problems: {problems}, warnings: {warnings}")
    raise typer.Exit(int(problems > 0))


def _say(finding: Finding, secrets: Secrets) -> None:
    say(finding.level, finding.name, secrets.hide(finding.found))
    if finding.do:
        say("", "", f"-> {secrets.hide(finding.do)}")


def _here(settings: Settings) -> Iterator[Finding]:
    from clipserve.commands.doctor import findings

    for check in findings.CHECKS:
        yield from check(settings)
    said, status = findings.start()
    yield from findings.of_start(said, status)
    yield from findings.memory(settings, said)


def _there(url: str, key: str | None, ca_file: Path | None) -> Iterator[Finding]:
    """Whether a clipserve answers there and is ready, and its models."""
    from clipserve.api.states import ModelList, Ready
    from clipserve.client.errors import ClipserveError, Refused
    from clipserve.client.http import ask_once
    from clipserve.commands.doctor.findings import Finding

    log = "its log says what it waits for"
    try:
        ask_once(url, key, ca_file, "GET", "/readyz", Ready)
        yield Finding("ready", "ok", f"{url}/readyz says yes")
        models = ask_once(url, key, ca_file, "GET", "/v1/models", ModelList).data
    except Refused as error:
        yield Finding("ready", "problem", f"{url}: {error}", log)
    except ClipserveError as error:
        do = "is it running, is this its port, is a firewall between? A certificate of your own: --ca-file"
        yield Finding("ready", "problem", str(error), do)
    else:
        for model in models:
            found = f"{model.id}: {model.fingerprint}"
            unready = Finding("models", "problem", f"{found} is not ready", log)
            yield Finding("models", "ok", found) if model.ready else unready
