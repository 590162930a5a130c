"""Keeps secrets out of the report: checks do not write them, and every line is filtered at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"

_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY|_KEY|REDIS_URL|HEADERS)$", re.IGNORECASE
)
_NESTED = re.compile(
    r'"\w*(?:token|secret|password|redis_url)"\s*:\s*\[?\s*"([^"]+)"', re.IGNORECASE
)  # in JSON
_IN_A_URL = re.compile(
    r"(?<=://)[^/@\s]*?:([^/@\s]+)@|[?&][^=&\s]*=([^&\s]+)"
)  # passwords, and values of a query
_USER_OF_A_URL = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_SHORTEST = 6  # characters of a secret that is replaced: a shorter one would match in words and numbers


class Secrets:
    """The secrets of an environment, and those that the user gave on the command line."""

    def __init__(self, environment: Mapping[str, str], *others: str) -> None:
        found = {*others, *_of(environment)}
        self._all = sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)

    def hide(self, value: Any) -> Any:
        """The text, or JSON, without the secrets, and without users and passwords of URLs."""
        if isinstance(value, Mapping):
            return {self.hide(name): self.hide(field) for name, field in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide(each) for each in value]
        if not isinstance(value, str):
            return value
        for secret in self._all:
            value = value.replace(secret, HIDDEN)
        return _USER_OF_A_URL.sub(HIDDEN, value)


def _of(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if _NAME.search(name):
            yield from (value, value.strip())
        yield from _NESTED.findall(value)
        if name.upper() == "OTEL_EXPORTER_OTLP_ENDPOINT":  # some have a token in the path
            yield value.partition("://")[2]
        for part in filter(None, chain.from_iterable(_IN_A_URL.findall(value))):
            yield from (part, unquote(part))
