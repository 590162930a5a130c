"""Writes an artifact's folder atomically."""

from __future__ import annotations

import errno
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

_ABANDONED_SECONDS = 86_400


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that replaces it when the block ends without an exception.

    After an exception `out` is unchanged, and the unfinished folder is gone. What a process left that was killed is
    removed by an export to the same place a day later. A crash between the two renames leaves the old artifact
    aside, and the next export puts it back first. Of several exports at once the last one holds.

    Raises:
        ModelsError: `out` exists and is not an artifact, so it must not be replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists() and not (out / MANIFEST_NAME).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ModelsError(f"{out} exists and is not an artifact. Choose another folder with --out.")
    for left in _beside(out, "partial"):
        with suppress(OSError):  # its own export has just ended
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    if not out.exists() and (aside := _beside(out, "previous")):
        with suppress(OSError):  # another export has put it back
            aside[-1].rename(out)
    partial = out.with_name(f".{out.name}.partial-{uuid4().hex[:8]}")
    partial.mkdir()
    try:
        yield partial
        _exchange(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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


def _beside(out: Path, what: str) -> list[Path]:
    """The hidden folders of this kind, the oldest first."""
    return sorted(out.parent.glob(f".{glob.escape(out.name)}.{what}-*"))


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
