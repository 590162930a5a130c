"""Writes an artifact's folder atomically."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from clipserve.clip.artifact import MANIFEST_NAME
from clipserve.clip.manifest import ModelManifest
from clipserve_models.errors import ModelsError


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that replaces it when the block ends without an exception.

    After an exception `out` is unchanged. The unfinished folder stays beside it for inspection; the next export to
    the same place removes it, unless the process that writes it is alive. A crash between the two renames leaves
    the old artifact aside, and the next export puts it back first. Of several exports at once the last one holds.

    Raises:
        ModelsError: `out` exists and is not an artifact, so it must not be replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists() and not (out / MANIFEST_NAME).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ModelsError(f"{out} exists and is not an artifact. Choose another folder with --out.")
    _remove_abandoned(out)
    if not out.exists() and (aside := _beside(out, "previous")):
        with suppress(OSError):  # another export has put it back
            aside[-1].rename(out)
    mark = uuid4().hex[:8]
    partial, lock = out.with_name(f".{out.name}.partial-{mark}"), out.with_name(f".{out.name}.lock-{mark}")
    with _locked(lock):
        partial.mkdir()
        try:
            yield partial
            _exchange(partial, out)
        finally:
            if partial.exists() and not any(partial.iterdir()):
                partial.rmdir()
            lock.unlink()


def _exchange(partial: Path, out: Path) -> None:
    while True:  # another export may put its own there between the two renames
        with suppress(FileNotFoundError):
            out.rename(out.with_name(f".{out.name}.previous-{time.time_ns()}"))
        try:
            partial.rename(out)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    for previous in _beside(out, "previous"):
        shutil.rmtree(previous, ignore_errors=True)


def _remove_abandoned(out: Path) -> None:
    """Remove the unfinished folders of exports to `out` that have ended."""
    for partial in _beside(out, "partial"):
        lock = partial.with_name(partial.name.replace(".partial-", ".lock-"))
        try:
            with _locked(lock, os.O_RDWR):
                lock.unlink()
        except FileNotFoundError:
            pass
        except OSError:
            continue  # its process is alive, or another user's
        shutil.rmtree(partial, ignore_errors=True)


def _beside(out: Path, what: str) -> list[Path]:
    """The hidden folders of this kind, the oldest first."""
    return sorted(out.parent.glob(f".{glob.escape(out.name)}.{what}-*"))


@contextmanager
def _locked(file: Path, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[None]:
    """Hold the lock of a file, which is opened to be written, or NFS would not lock it.

    Raises:
        OSError: another process holds it, or it cannot be opened.
    """
    descriptor = os.open(file, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def link(source: Path, target: Path) -> None:
    """Make a hard link if the file system allows it, else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, in hexadecimal, by name."""
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir())}


def sha256_of(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, manifest: ModelManifest) -> None:
    """Write model.json, indented for people to read; the many numbers of the reference vectors are one line."""
    head = json.dumps(manifest.model_dump(mode="json", exclude={"reference"}, exclude_none=True), indent=2)
    vectors = manifest.reference.model_dump_json(exclude_none=True)
    body = head.removesuffix("\n}")
    (folder / MANIFEST_NAME).write_text(f'{body},\n  "reference": {vectors}\n}}\n', "utf-8")
