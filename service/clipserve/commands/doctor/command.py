"""The command `clipserve doctor`: a start without serving, and what a start cannot say.

No secret is in the report: checks do not write them, and every line is filtered at the end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any

import typer

from clipserve import __version__
from clipserve.commands.printing import say, say_json

# Variables whose value is one. Some collectors' addresses have a token in the path.
_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY|_KEY|REDIS_URL|HEADERS|OTLP_ENDPOINT)$",
    re.IGNORECASE,
)
_NESTED = re.compile(r'"\w*(?:token|secret|password|redis_url)"\s*:\s*\[?\s*"([^"]+)"', re.IGNORECASE)
_IN_A_URL = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)|(?<=[?&])[^=&\s]+=[^&\s'\"]+")  # the user, and a query
_SHORTEST = 6  # characters of a secret that is replaced: a shorter one would match in words and numbers


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
    from clipserve.commands.doctor.findings import here, there  # they load what serves
    from clipserve.settings import BadSettings, read_settings

    secrets = Secrets(os.environ, *([key] if key else []))
    report: dict[str, Any] = {"format": 2, "clipserve": __version__, "examined": url or "this machine"}
    report["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    if url is not None:
        found = there(url.rstrip("/"), key, ca_file)
    else:
        try:
            found = here(settings := read_settings())
            report["settings"] = settings.model_dump(mode="json")
        except BadSettings as error:
            found = here(error)
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


class Secrets:
    """The secrets of an environment, and those that the user gave on the command line."""

    def __init__(self, environment: Mapping[str, str], *others: str) -> None:
        found = {value.strip() for name, value in environment.items() if _NAME.search(name)}.union(others)
        found |= {secret for value in environment.values() for secret in _NESTED.findall(value)}
        self._all = sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)

    def hide(self, text: str) -> str:
        """A text, or JSON as text, without the secrets, and without users and queries of URLs."""
        for secret in self._all:
            text = text.replace(secret, "***").replace(dumps(secret)[1:-1], "***")
        return _IN_A_URL.sub("***", text)
