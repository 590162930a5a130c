"""Runs a command, and ends it: with an exit status, or with one line about an error."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
import uvloop

from clipserve.access.key_file import KeyFileError
from clipserve.client.errors import ClipserveError
from clipserve.clip.artifact import ArtifactError
from clipserve.commands.printing import say
from clipserve.errors import ClipError
from clipserve.settings import BadSettings
from clipserve.telemetry.tracing import TracingUnavailable
from clipserve.wiring.listening import CannotListen

# Reasons why a start fails, each shown as one line.
START_FAULTS = (ArtifactError, CannotListen, ClipError, KeyFileError, TracingUnavailable)
WRONG_USE = 2
_INTERRUPTED = 128  # plus the signal's number, as in shells


def fail(*reasons: str, status: int = 1) -> NoReturn:
    """Print the reason on standard error, and end the command with this exit status."""
    for reason in reasons:
        say(f"clipserve: {reason}", err=True)
    raise typer.Exit(status)


@contextmanager
def failing() -> Iterator[None]:
    """End the command at an error whose message is for people."""
    try:
        yield
    except BadSettings as error:
        fail(*error.reasons, status=WRONG_USE)
    except (CannotListen, ClipserveError, KeyFileError) as error:
        fail(str(error))


def run(command: Coroutine[Any, Any, int], interrupted: str = "interrupted.") -> NoReturn:
    """Run it and exit with the status that it returns. `interrupted`: the message after Ctrl-C or SIGTERM."""
    try:
        with failing(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(_until_told(command))
        sys.stdout.flush()
    except KeyboardInterrupt:
        fail(interrupted, status=_INTERRUPTED + signal.SIGINT)
    except asyncio.CancelledError:
        fail(interrupted, status=_INTERRUPTED + signal.SIGTERM)
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except OSError as error:
        fail(f"{error.filename2 or error.filename}: {error.strerror}" if error.filename else str(error))
    raise typer.Exit(status)


async def _until_told(command: Coroutine[Any, Any, int]) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await command
