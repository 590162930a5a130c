"""Runs the event loop of a command, and ends the command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import typer
import uvloop

from clipserve.client.errors import ClipserveError
from clipserve.commands.reading import BadSettings, fail
from clipserve.commands.vectors.rows import VectorFileError

_INTERRUPTED = 128  # plus the signal's number, as in shells


def run(command: Coroutine[Any, Any, int], interrupted: str = "interrupted.") -> NoReturn:
    """Run it and exit with the status that it returns. `interrupted`: the message after Ctrl-C or SIGTERM."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(_until_told(command))
        sys.stdout.flush()
    except (ClipserveError, VectorFileError) as error:
        fail(str(error))
    except BadSettings as error:
        fail(*error.reasons, status=2)
    except KeyboardInterrupt:
        fail(interrupted, status=_INTERRUPTED + signal.SIGINT)
    except asyncio.CancelledError:
        fail(interrupted, status=_INTERRUPTED + signal.SIGTERM)
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except OSError as error:
        fail(str(error))
    raise typer.Exit(status)


async def _until_told(command: Coroutine[Any, Any, int]) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await command
