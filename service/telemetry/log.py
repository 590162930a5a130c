"""Logs: one line of JSON an event, on standard error; coloured text on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from service.telemetry.request import add_request_ids

logger: Any = structlog.get_logger("clipserve")


def _console() -> structlog.dev.ConsoleRenderer:
    # By default it draws tracebacks with rich, if that is installed: with local variables, which are callers' data,
    # and so slowly that every request waits meanwhile.
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Set up structlog once, when the process starts. `level` is a name of the standard library's, e.g. INFO."""
    terminal = stream.isatty()
    structlog.configure(
        processors=[
            add_request_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if terminal else [structlog.processors.format_exc_info]),
            _console() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
