"""Keeps secrets out of the report: checks do not write them, and every line is filtered at the end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

HIDDEN = "***"

# Variables whose value is one. Some collectors' addresses have a token in the path.
_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY|_KEY|REDIS_URL|HEADERS|OTLP_ENDPOINT)$",
    re.IGNORECASE,
)
_NESTED = re.compile(r'"\w*(?:token|secret|password|redis_url)"\s*:\s*\[?\s*"([^"]+)"', re.IGNORECASE)
_IN_A_URL = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)|(?<=[?&])[^=&\s]+=[^&\s'\"]+")  # the user, and a query
_SHORTEST = 6  # characters of a secret that is replaced: a shorter one would match in words and numbers


class Secrets:
    """The secrets of an environment, and those that the user gave on the command line."""

    def __init__(self, environment: Mapping[str, str], *others: str) -> None:
        found = {value.strip() for name, value in environment.items() if _NAME.search(name)}.union(others)
        found |= {secret for value in environment.values() for secret in _NESTED.findall(value)}
        self._all = sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)

    def hide(self, text: str) -> str:
        """A text, or JSON as text, without the secrets, and without users and queries of URLs."""
        for secret in self._all:
            text = text.replace(secret, HIDDEN).replace(json.dumps(secret)[1:-1], HIDDEN)
        return _IN_A_URL.sub(HIDDEN, text)
