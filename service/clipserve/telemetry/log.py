"""The log on standard error: a line of JSON for each event, libraries' too, or coloured text on a terminal."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
from types import SimpleNamespace
from typing import Any, TextIO

import structlog
from structlog import processors

from clipserve.telemetry.line_writer import LineWriter
from clipserve.telemetry.request import add_request_ids

_LIBRARY_S = logging.getLogger("clipserve")
_LIBRARY_S.addHandler(logging.NullHandler())  # silent, unless a program configures `logging`
# Until `configure` is called, lines go to the standard library's logger: the process may be another program's.
logger: Any = structlog.wrap_logger(
    _LIBRARY_S,
    processors=[
        structlog.stdlib.filter_by_level,
        processors.format_exc_info,
        processors.KeyValueRenderer(key_order=["event"]),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)

_FLUSH_SECONDS = 1.0  # at the end of the process
standard_error = LineWriter(lambda lines: logger.warning("log_lines_dropped", lines=lines))


def start() -> None:
    """Begin to write to standard error, and log what libraries log. Called once, at the start of a process."""
    standard_error.start(_descriptor())
    atexit.register(standard_error.flush, _FLUSH_SECONDS)
    configure("INFO")
    logging.captureWarnings(True)
    # Not INFO, which is about the libraries' internals, nor DEBUG, which has callers' data.
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)
    sys.excepthook = lambda *error: logger.critical("unexpected_end", exc_info=error)
    threading.excepthook = lambda failed: logger.error(
        "thread_failed", thread=failed.thread and failed.thread.name, exc_info=_error_of(failed)
    )
    sys.unraisablehook = lambda it: logger.error("unraisable", what=it.err_msg, exc_info=_error_of(it))


def configure(level: str, output: LineWriter | TextIO = standard_error) -> None:
    """Configure structlog, and gRPC, which must not be loaded yet. `level`: a standard one, such as INFO."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it prints errors that it also raises

    def write(line: str) -> None:
        output.write(line + "\n")

    lines = SimpleNamespace(**dict.fromkeys(("debug", "info", "warning", "error", "critical"), write))
    if output.isatty():
        # By default rich, if installed, renders tracebacks: with local variables, which are callers' data, and so
        # slowly that all requests wait.
        last: list[Any] = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        # One encoder: with `json.dumps` each line would make its own.
        encode = json.JSONEncoder(default=repr).encode
        renderer = processors.JSONRenderer(lambda line, **_: encode(line))
        last = [processors.format_exc_info, renderer]
    stamped = processors.TimeStamper(fmt="iso")
    structlog.configure(
        processors=[add_request_ids, processors.add_log_level, stamped, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=lambda *_: lines,
    )
    bound = structlog.get_logger("clipserve").bind()  # otherwise each line would bind a logger first
    for name in (*vars(lines), "exception", "log"):
        setattr(logger, name, getattr(bound, name))


def _error_of(failed: Any) -> tuple[Any, ...]:
    return failed.exc_type, failed.exc_value, failed.exc_traceback


class _Libraries(logging.Handler):
    """Writes the records of the standard library's `logging` as lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        # structlog has no levels between these.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        try:
            event = record.getMessage()
        except Exception:  # the library's bug: its format and its values do not match
            event = str(record.msg)
        logger.log(level, event, logger=record.name, exc_info=record.exc_info)


def _descriptor() -> int:
    """The file descriptor to write to: standard error, or /dev/null if the process was started without it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file or connection would get its number, and libraries' output. `open` takes the lowest.
            os.open(os.devnull, os.O_RDWR)
    return 2 if sys.stderr else os.open(os.devnull, os.O_WRONLY)
