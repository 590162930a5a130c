"""What is logged, for tests that read it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clipserve.telemetry import log


class Log(io.StringIO):
    """What is logged."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


@contextmanager
def logged(level: str = "DEBUG") -> Iterator[Log]:
    """All of this level that is logged in the block."""
    stream = Log()
    log.configure(level, stream)
    try:
        yield stream
    finally:
        log.configure("CRITICAL")
