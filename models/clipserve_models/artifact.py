"""Writes an artifact's folder atomically."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
    the old artifact aside, and the next export puts it back first.

    Raises:
        ModelsError: `out` exists and is not an artifact, so it must not be replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    previous = out.with_name(f".{out.name}.previous")
    with locked(out.parent):
        is_artifact = (out / MANIFEST_NAME).is_file()
        if out.exists() and not is_artifact and (not out.is_dir() or any(out.iterdir())):
            raise ModelsError(f"{out} exists and is not an artifact. Choose another folder with --out.")
        if previous.exists() and not out.exists():
            previous.rename(out)
        _remove_abandoned(out)
        partial = out.with_name(f".{out.name}.partial-{uuid4().hex[:8]}")
        partial.mkdir()
        lock = _lock(partial)
    try:
        yield partial
        with locked(out.parent):
            shutil.rmtree(previous, ignore_errors=True)
            if out.exists():
                out.rename(previous)
            partial.rename(out)
            shutil.rmtree(previous, ignore_errors=True)
    finally:
        os.close(lock)
        if partial.exists() and not any(partial.iterdir()):
            partial.rmdir()


def _remove_abandoned(out: Path) -> None:
    """Remove the unfinished folders of exports to `out` that have ended."""
    for partial in out.parent.glob(f".{glob.escape(out.name)}.partial-*"):
        try:
            os.close(_lock(partial, fcntl.LOCK_NB))
        except OSError:
            continue  # its process is alive, or another user's
        shutil.rmtree(partial, ignore_errors=True)


def _lock(folder: Path, options: int = 0) -> int:
    """A descriptor that holds the lock of a folder until it is closed, or its process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | options)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others from exchanging artifacts of this folder in the block."""
    descriptor = _lock(folder)
    try:
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
