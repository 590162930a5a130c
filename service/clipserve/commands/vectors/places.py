"""Where the index of a folder lies: in the folder, or in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from clipserve.client.errors import ClipserveError
from clipserve.commands.printing import say

NAME = ".clipserve.sqlite"  # hidden, so that nobody takes it for a photo


def index_of(folder: Path, cache: Path) -> Path:
    """The path of the folder's index: in the cache if the folder is read-only, or its file system cannot lock.

    Raises:
        ClipserveError: the cache cannot be written.
    """
    own = folder / NAME
    if os.access(folder, os.W_OK | os.X_OK) and (os.access(own, os.W_OK) if own.exists() else _locks(folder)):
        return own
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    kept = cache / "indexes" / f"{name}.sqlite"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        if os.path.exists(own) and not kept.exists():
            shutil.copyfile(own, kept)
    except OSError as error:
        reason = f"{folder} cannot be written, and {error.filename} neither: {error.strerror}"
        raise ClipserveError(f"{reason}. Name another folder in CLIPSERVE_CACHE_DIR.") from None
    say(f"{folder} cannot be written, or its file system cannot lock files: its index is {kept}.", err=True)
    return kept


def _locks(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            fcntl.lockf(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
