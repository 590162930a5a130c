"""Exports a model in a separate process, whose output is logged: its memory goes back, and no two do it at once."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clipserve.telemetry.log import logger

EXPORTER = "clipserve_models"
_LAST_LINES = 3  # lines of a failed exporter in the error, if none of them says that it is one
_MAX_LINE_CHARS = 500
_ERROR = "error: "


def export_into(folder: Path, name: str, is_there: Callable[[Path], bool]) -> str | None:
    """Export the model `name` to `folder`, unless `is_there` once no other process does the same.

    The exporter writes beside the folder, and puts it there whole (`clipserve_models.artifact.replacing`).

    Returns:
        how the exporter failed, in words; None if it did not.

    Raises:
        OSError: the lock beside the folder cannot be made.
    """
    with _alone(folder) as lock:
        if is_there(folder):  # a process before this one has exported it
            return None
        began = time.monotonic()
        logger.info("exporting_model", model=name, folder=str(folder))
        status, output = _run_exporter(name, folder, lock)
        if status:
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            return f"{how}: {output or 'it printed nothing'}"
        seconds = round(time.monotonic() - began, 1)
        logger.info("model_exported", model=name, folder=str(folder), seconds=seconds)
    return None


def _run_exporter(name: str, out: Path, lock: int) -> tuple[int, str]:
    """Run the exporter and log its output; return its exit status, and its error or last lines.

    It holds the lock too: if this process ends first, no other one exports until the exporter has ended, which
    happens at its next line, because nobody reads its output.
    """
    command = [sys.executable, "-P", "-u", "-m", EXPORTER, "export", name, "--out", str(out)]
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(  # noqa: S603 - this Python, and the name of a model or folder that begins with no dash
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        env=os.environ | {"TQDM_MININTERVAL": "5"},  # a progress line of a download every five seconds
        text=True,
        errors="replace",
    ) as exporter:
        assert exporter.stdout is not None
        try:
            for line in exporter.stdout:
                if text := line.strip()[:_MAX_LINE_CHARS]:
                    if text.startswith(_ERROR):
                        lines.clear()
                    lines.append(text)
                    logger.info("export_progress", model=name, said=text)
        except BaseException:
            exporter.kill()
            raise
    return exporter.returncode, " | ".join(lines)


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold the lock of this model's export, a file that stays; yield its descriptor."""
    path = folder.with_name(f".{folder.name}.lock")
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # not only to read, or NFS would not lock it
    except PermissionError:
        lock = os.open(path, os.O_RDONLY)  # that of another user, who shares the folder
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting_for_export", model=folder.name, hint="another process exports it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
        fcntl.flock(lock, fcntl.LOCK_UN)  # also of a child that the exporter may have left with it
    finally:
        os.close(lock)
