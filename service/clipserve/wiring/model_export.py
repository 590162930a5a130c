"""Exports a model in a separate process, whose output is logged, and whose memory goes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from clipserve.telemetry.log import logger

EXPORTER = "clipserve_models"
_LAST_LINES = 3  # lines of a failed exporter in the error, if none of them says that it is one
_MAX_LINE_CHARS = 500
_ERROR = "error: "


def export_into(folder: Path, name: str) -> str | None:
    """Export the model `name` to `folder`.

    The exporter writes beside the folder, and puts it there whole (`clipserve_models.artifact.replacing`): of two
    processes that export the same at once the last one's stays, which is the same.

    Returns:
        how the exporter failed, in words; None if it did not.
    """
    began = time.monotonic()
    logger.info("exporting_model", model=name, folder=str(folder))
    status, output = _run_exporter(name, folder)
    if status:
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"{how}: {output or 'it printed nothing'}"
    seconds = round(time.monotonic() - began, 1)
    logger.info("model_exported", model=name, folder=str(folder), seconds=seconds)
    return None


def _run_exporter(name: str, out: Path) -> tuple[int, str]:
    """Run the exporter and log its output; return its exit status, and its error or last lines."""
    command = [sys.executable, "-P", "-u", "-m", EXPORTER, "export", name, "--out", str(out)]
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(  # noqa: S603 - this Python, and the name of a model or folder that begins with no dash
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
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
