"""Where the index of a folder lies: in the folder, or in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from clipserve.commands.printing import say

NAME = ".clipserve.sqlite"  # hidden, so that nobody takes it for a photo


def index_of(folder: Path, cache: Path) -> Path:
    """The path of the folder's index: in the cache if the folder is read-only, or its file system cannot lock.

    Raises:
        OSError: the cache cannot be written.
    """
    own = folder / NAME
    if os.access(folder, os.W_OK | os.X_OK) and (os.access(own, os.W_OK) if own.exists() else _locks(folder)):
        return own
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    kept = cache / "indexes" / f"{name}.sqlite"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        if own.exists():
            shutil.copyfile(own, kept)
    say(f"{folder} cannot be written, or its file system cannot lock files: its index is {kept}.", err=True)
    return kept


def _locks(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            fcntl.lockf(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
