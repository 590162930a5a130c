"""The artifacts in the cache: what is there, and the removal of one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from clipserve.clip.artifact import MANIFEST_NAME, ArtifactError, read_manifest
from clipserve_models.artifact import locked
from clipserve_models.errors import ModelsError

HEADINGS = ("NAME", "PRECISION", "SIZE", "MADE", "LICENCE", "FROM")


def installed(cache: Path) -> Iterator[tuple[str, ...]]:
    """A row of `HEADINGS` for each artifact, by name."""
    for path in sorted(cache.glob(f"*/{MANIFEST_NAME}")):
        folder = path.parent
        if folder.name.startswith("."):
            continue  # an export that is not complete
        made = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
        size = f"{sum(each.stat().st_size for each in folder.iterdir()) / 1e6:,.0f} MB"
        try:
            manifest = read_manifest(folder)
        except ArtifactError:
            yield folder.name, "?", size, made, "?", "not readable: export it again, or remove it"
            continue
        source = manifest.source
        commit = f" {source.revision[:12]}" if source.revision else ""
        yield folder.name, manifest.precision, size, made, source.licence, source.checkpoint + commit


def remove(folder: Path, cache: Path) -> int:
    """Delete an artifact of the cache; return its bytes.

    Raises:
        ModelsError: the folder is not in the cache, or no artifact.
    """
    if folder.parent.resolve() != cache.resolve() or not (folder / MANIFEST_NAME).is_file():
        raise ModelsError(f"{folder} is no artifact in {cache}: only those are removed.")
    size = sum(each.stat().st_size for each in folder.iterdir())
    gone = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(gone, ignore_errors=True)
    with locked(cache):  # not between two steps of an export
        folder.rename(gone)  # so that no start finds a half of it
    shutil.rmtree(gone)
    return size
