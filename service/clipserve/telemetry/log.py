"""Logs: one line of JSON an event, on standard error; coloured text on a terminal. Libraries' lines too."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from types import SimpleNamespace
from typing import Any, Protocol

import structlog

from clipserve.telemetry.line_writer import LineWriter
from clipserve.telemetry.request import add_request_ids

logger: Any = structlog.get_logger("clipserve")

_FLUSH_SECONDS = 1.0  # at the end of the process


class Output(Protocol):
    """Where lines go."""

    def write(self, line: str, /) -> object: ...
    def isatty(self) -> bool: ...


standard_error = LineWriter(lambda lines: logger.warning("log_lines_dropped", lines=lines))


def start() -> None:
    """Once in a process, when it starts: write to standard error, and take what libraries say there."""
    standard_error.start(_descriptor())
    atexit.register(standard_error.flush, _FLUSH_SECONDS)
    configure("INFO")
    logging.captureWarnings(True)
    # Not INFO: it is about the libraries' own matters, and DEBUG is about what callers send.
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)
    sys.excepthook = lambda *error: logger.critical("unexpected_end", exc_info=error)
    threading.excepthook = lambda failed: logger.error(
        "thread_failed",
        thread=failed.thread and failed.thread.name,
        exc_info=(failed.exc_type, failed.exc_value, failed.exc_traceback),
    )
    sys.unraisablehook = lambda failed: logger.error(
        "unraisable",
        what=failed.err_msg,
        exc_info=(failed.exc_type, failed.exc_value, failed.exc_traceback),
    )


def configure(level: str, output: Output = standard_error) -> None:
    """Set up structlog. `level` is a name of the standard library's, e.g. INFO."""

    def write(line: str) -> None:
        output.write(line + "\n")

    lines = SimpleNamespace(**dict.fromkeys(("debug", "info", "warning", "error", "critical"), write))
    if output.isatty():
        # By default tracebacks are drawn with rich, if that is installed: with local variables, which are callers'
        # data, and so slowly that every request waits meanwhile.
        last: list[Any] = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            add_request_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=lambda *_: lines,
    )
    bound = logger.bind()  # or each line would make a logger of its own first
    for name in (*vars(lines), "exception", "log"):
        setattr(logger, name, getattr(bound, name))


class _Libraries(logging.Handler):
    """What is logged with the standard library's `logging`, as lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        # structlog knows no levels between these.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        try:
            event = record.getMessage()
        except Exception:  # the library's fault: its text and its values do not fit
            event = str(record.msg)
        logger.log(level, event, logger=record.name, exc_info=record.exc_info)


def _descriptor() -> int:
    """Where lines are written: standard error, or nowhere if the process was started without one."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Or the next file or connection would get its number, and what a library prints. This gets the lowest.
            os.open(os.devnull, os.O_RDWR)
    return 2 if sys.stderr else os.open(os.devnull, os.O_WRONLY)
