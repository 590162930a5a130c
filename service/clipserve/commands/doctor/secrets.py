"""What must not be told: it is not put into a line in the first place, and taken out of every line in the end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from clipserve.commands.doctor.findings import Outcome

HIDDEN = "***"

_SECRET = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY|_KEY|REDIS_URL|HEADERS)$", re.IGNORECASE
)
_USER_OF_A_URL = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_SHORTEST = 6  # of what is looked for in lines: a shorter one would take words and numbers apart

T = TypeVar("T", bound=str | None)


class Secrets:
    """The secrets of an environment, and what a user gave beside it."""

    def __init__(self, environment: Mapping[str, str], *others: str) -> None:
        found = {*others, *_of(environment)}
        self._all = sorted((each for each in found if len(each) >= _SHORTEST), key=len, reverse=True)

    def hide(self, text: T) -> T:
        """The same text without them, and without users and passwords of URLs; None stays None."""
        if isinstance(text, str):
            for secret in self._all:
                text = text.replace(secret, HIDDEN)  # type: ignore[assignment]
            return _USER_OF_A_URL.sub(HIDDEN, text)  # type: ignore[return-value]
        return text

    def hide_in(self, outcome: Outcome) -> Outcome:
        """An outcome whose lines are without them."""
        findings = (
            replace(each, found=self.hide(each.found), do=self.hide(each.do)) for each in outcome.findings
        )
        return replace(outcome, findings=tuple(findings))


def is_secret(name: str) -> bool:
    """Whether a variable, or a field, of this name holds a secret."""
    return _SECRET.search(name) is not None


def _of(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if is_secret(name):
            yield from (value, value.strip())
        if name.upper().endswith("HEADERS"):  # name=value,name=value, as OpenTelemetry writes them
            for pair in value.split(","):
                yield from _words(pair.partition("=")[2])
        if name.upper() == "CLIPSERVE_MODEL_SETTINGS":
            yield from _of_json(value)
        if "://" in value:
            yield from _of_url(value)


def _words(value: str) -> Iterator[str]:
    """A header's value, and its parts: `Bearer TOKEN`."""
    for each in (value, unquote(value)):
        yield each.strip()
        yield from (word for word in each.split() if word.lower() not in ("bearer", "basic"))


def _of_json(value: str) -> Iterator[str]:
    try:
        yield from _nested(json.loads(value))
    except (ValueError, RecursionError):  # what it holds cannot be told apart
        yield value


def _nested(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if is_secret(str(name)) and isinstance(each, str):
                yield each
            yield from _nested(each)
    elif isinstance(value, list):
        for each in value:
            yield from _nested(each)


def _of_url(value: str) -> Iterator[str]:
    try:
        url = urlsplit(value)
        parts = (url.password, *(each for _, each in parse_qsl(url.query)))  # users: `_USER_OF_A_URL`
    except ValueError:
        yield value
        return
    for part in parts:
        if part:
            yield from (part, unquote(part))
