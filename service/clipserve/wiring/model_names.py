"""Finds the folder of a model's artifact by its name, and exports the model first if it can.

All code that opens an artifact gets its folder here. The catalog of names belongs to `clipserve_models`, which is
never imported: it exports in a separate process, whose output is logged.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from clipserve import demo
from clipserve.clip.artifact import MANIFEST_NAME, ArtifactError
from clipserve.settings import Settings
from clipserve.settings.cache import CacheSettings
from clipserve.telemetry.log import logger

_NAME = re.compile(r"\w[\w.@-]*", re.ASCII)  # a name with a slash is a path
_EXPORTER = "clipserve_models"
_LAST_LINES = 3  # lines of a failed exporter in the error
_MAX_LINE_CHARS = 500


class NoSuchModel(ArtifactError):
    """There is no folder for a name; the message says how to make one."""


def with_folders(settings: Settings) -> Settings:
    """The settings with each model's folder in place of its name. Missing models are exported first.

    Raises:
        ArtifactError: see `provide`.
    """
    folders = tuple(provide(model, settings) for model in settings.models)
    return settings.model_copy(update={"models": folders})


def find(model: Path, settings: CacheSettings) -> Path:
    """`model` itself if it is a folder or a path, else the folder of that name: `demo`, or one in the cache.

    Raises:
        NoSuchModel: there is no folder of that name.
    """
    name = str(model)
    if os.path.isdir(model) or not _NAME.fullmatch(name):
        return model
    if name == "demo":
        return demo.FOLDER
    folder = settings.cache_dir / name
    if not _is_artifact(folder):
        raise NoSuchModel(f"{_absent(folder)}: {_remedy(name, settings)}")
    return folder


def provide(model: Path, settings: CacheSettings) -> Path:
    """Like `find`, but export a missing model into the cache, which takes minutes.

    Processes that need the same model wait for the first of them.

    Raises:
        NoSuchModel: the settings forbid the export, or it is not possible here.
        ArtifactError: the export failed; the message has the exporter's last lines.
    """
    try:
        return find(model, settings)
    except NoSuchModel:
        if _is_variant(str(model)) or not settings.export or not _can_export():
            raise
    folder = settings.cache_dir / model
    try:
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        with _ended_by_signals(), _alone(folder) as lock:
            if not _is_artifact(folder):  # no process before this one has exported it
                _export(folder, lock)
    except OSError as error:
        raise ArtifactError(
            f"{_absent(folder)}, and it cannot be exported there: {error.strerror}. Name another folder "
            "in CLIPSERVE_CACHE_DIR."
        ) from None
    return folder


def _export(folder: Path, lock: int) -> None:
    name, temporary = folder.name, folder.with_name(f".{folder.name}.exporting")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
    temporary.mkdir()
    began = time.monotonic()
    logger.info("exporting_model", model=name, folder=str(folder))
    status, last = _run_exporter(name, temporary / name, lock)
    if status:
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        raise ArtifactError(
            f"{_absent(folder)}, and its export ended {how}: {' | '.join(last) or 'it printed nothing'}"
        )
    try:
        os.rename(temporary / name, folder)
    except OSError:
        if not _is_artifact(folder):  # unless a `clipserve models export` was faster
            raise
    shutil.rmtree(temporary, ignore_errors=True)
    logger.info("model_exported", model=name, folder=str(folder), seconds=round(time.monotonic() - began, 1))


def _run_exporter(name: str, out: Path, lock: int) -> tuple[int, Sequence[str]]:
    """Run the exporter and log its output; return its exit status and its last lines.

    It holds the lock too: if this process is killed, no other one exports until the exporter has ended, which
    happens at its next line, because nobody reads its output.
    """
    command = [sys.executable, "-P", "-u", "-m", _EXPORTER, "export", name, "--out", str(out)]
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(  # noqa: S603 - this Python, and a name without blanks and slashes
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
                if said := line.strip()[:_MAX_LINE_CHARS]:
                    last.append(said)
                    logger.info("export_progress", model=name, said=said)
        except BaseException:
            exporter.kill()
            raise
    return exporter.returncode, last


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold the lock of this model's export; yield its descriptor."""
    lock = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
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


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end this process like Ctrl-C, and the exporter with it: there is no other handler yet."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _absent(folder: Path) -> str:
    return f"{folder.name} is neither a folder nor a model in {folder.parent}"


def _remedy(name: str, settings: CacheSettings) -> str:
    if _is_variant(name):
        base, _, precision = name.partition("@")
        return f"make it with `clipserve models variant {base} --precision {precision} --photos PHOTOS`"
    if not settings.export:
        return f"CLIPSERVE_EXPORT=false forbids an export here; `clipserve models export {name}` does it"
    if not _can_export():
        return 'install what exports it: pip install "clipserve-models[export]"'
    return (
        f"if `clipserve models list` has it, `clipserve models export {name}` makes it, as does a start of the "
        "service; if not, correct the name"
    )


def _is_variant(name: str) -> bool:
    return "@" in name


def _is_artifact(folder: Path) -> bool:
    return os.path.isfile(folder / MANIFEST_NAME)


def _can_export() -> bool:
    return importlib.util.find_spec(_EXPORTER) is not None
