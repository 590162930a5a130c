"""One request of the front, without its body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Request(NamedTuple):
    """What handlers read of a request, as plain values: Starlette's own takes 20 calls to give the same.

    Attributes:
        id: in logs, and in the header X-Request-Id of the answer.
        method: in upper case.
        headers: by their names in lower case; of a name that occurs twice, the last value.
        query: what follows the question mark.
        names: the values of the path's parameters, such as {name}.
    """

    id: str
    method: str
    headers: Mapping[bytes, bytes]
    query: bytes = b""
    names: Mapping[str, str] = {}

    def header(self, name: bytes) -> str:
        """A header's value, or "". `name` is in lower case."""
        return self.headers.get(name, b"").decode("latin-1")
