"""Writes an artifact's folder atomically."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipserve.clip.artifact import MANIFEST_NAME
from clipserve.clip.manifest import ModelManifest
from clipserve_models.errors import ModelsError


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that replaces it when the block ends without an exception.

    After an exception `out` is unchanged. The unfinished folder stays beside it for inspection; the next export to
    the same place removes it.

    Raises:
        ModelsError: `out` exists and is not an artifact, so it must not be replaced.
    """
    if out.exists() and not (out / MANIFEST_NAME).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ModelsError(f"{out} exists and is not an artifact. Choose another folder with --out.")
    partial = out.with_name(f".{out.name}.partial")
    previous = out.with_name(f".{out.name}.previous")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(previous, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        if not any(partial.iterdir()):
            partial.rmdir()
        raise
    if out.exists():
        out.rename(previous)
    partial.rename(out)
    shutil.rmtree(previous, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """Make a hard link if the file system allows it, else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, in hexadecimal, by name."""
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            files[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return files


def write_manifest(folder: Path, manifest: ModelManifest) -> None:
    """Write model.json, indented for people to read; the many numbers of the reference vectors are one line."""
    told = manifest.model_dump(mode="json", exclude={"reference"})
    if manifest.variant is None:
        del told["variant"]
    for fact in ("model", "pretrained", "seed"):
        if told["source"][fact] is None:
            del told["source"][fact]
    head = json.dumps(told, indent=2)
    vectors = manifest.reference.model_dump_json(exclude_none=True)
    body = head.removesuffix("\n}")
    (folder / MANIFEST_NAME).write_text(f'{body},\n  "reference": {vectors}\n}}\n', "utf-8")
