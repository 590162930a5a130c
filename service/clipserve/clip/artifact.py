"""An artifact on disk: a folder with `model.json` (the manifest), `image.onnx`, `text.onnx` and `tokenizer.json`.

The contract of the graphs:

    image.onnx   pixels     uint8   [N, S, S, 3]    ->  embedding  float32 [N, D], unit length
    text.onnx    token_ids  int32   [N, L]          ->  embedding  float32 [N, D], unit length
                 lengths    int32   [N]

Scaling, mean and deviation, layout and the L2 norm are nodes of the graph. `lengths` counts the tokens of a row
up to and including the end-of-text token; the rest is padding.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from clipserve.clip.external import external_files
from clipserve.clip.manifest import ModelManifest
from clipserve.files import read_bounded, regular

MANIFEST_NAME = "model.json"
IMAGE_GRAPH = "image.onnx"
TEXT_GRAPH = "text.onnx"
TOKENIZER = "tokenizer.json"

_MAX_MANIFEST_BYTES = 20_000_000  # five reference vectors of 65,536 numbers have 7 million


class ArtifactError(Exception):
    """The artifact on disk cannot be served; the message says which file and why."""


def read_manifest(folder: Path) -> ModelManifest:
    """Read `folder`/model.json.

    Raises:
        ArtifactError: the file is missing or malformed.
    """
    path = folder / MANIFEST_NAME
    try:
        manifest = ModelManifest.model_validate_json(read_bounded(path, _MAX_MANIFEST_BYTES))
    except OSError as error:
        fault = f"{MANIFEST_NAME} in it cannot be read: {error.strerror}"
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            fault = f"it has no {MANIFEST_NAME}" if folder.is_dir() else "there is no such folder"
        raise ArtifactError(
            f"{folder} is not an artifact: {fault}. Correct the path, make one with `clipserve models export`, or "
            "set CLIPSERVE_MODELS=demo."
        ) from None
    except ValidationError as error:
        raise ArtifactError(
            f"{path} is not a valid manifest: {_faults(error)}. Export or copy the artifact again."
        ) from None
    if unverified := {IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER} - manifest.files.keys():
        raise ArtifactError(
            f"{path} has no checksum of {', '.join(sorted(unverified))}: nothing would verify it."
        )
    if strange := [name for name in manifest.files if Path(name).name != name or "\0" in name]:
        raise ArtifactError(f"{path} names a file that cannot be in its folder: {strange[0][:100]!r}.")
    return manifest


def verify_files(folder: Path, manifest: ModelManifest) -> None:
    """Compare every file of the artifact with its checksum (reads them all: about a second per GB).

    Raises:
        ArtifactError: a file is missing, cut short or altered, or a graph has weights in a file without a checksum.
    """
    with ThreadPoolExecutor() as threads:  # one file a core: hashing releases the GIL
        digests = list(threads.map(partial(_sha256, folder), manifest.files))
    for (name, expected), actual in zip(manifest.files.items(), digests, strict=True):
        if actual != expected:
            raise ArtifactError(
                f"{folder / name} has SHA-256 {actual}, but {MANIFEST_NAME} says {expected}: "
                "the file was cut short or altered. Export or copy the artifact again."
            )
    # Without another file in the folder there is nothing unverified to load: half a second for each GB is saved.
    others = {path.name for path in folder.iterdir()} - manifest.files.keys() - {MANIFEST_NAME}
    for graph in (IMAGE_GRAPH, TEXT_GRAPH) if others else ():
        if unverified := external_files(folder / graph) - manifest.files.keys():
            raise ArtifactError(
                f"{folder / graph} has weights in {sorted(unverified)[0][:100]!r}, a file of which {MANIFEST_NAME} "
                "has no checksum. Weights must be in the graph, or in a file of the artifact that is listed in "
                "`files`."
            )


def _sha256(folder: Path, name: str) -> str:
    try:
        with open(regular(folder / name), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{folder / name} cannot be read: {error.strerror}") from None


def _faults(error: ValidationError) -> str:
    """The first faults in one line."""
    told = []
    for fault in error.errors(include_url=False, include_context=False):
        place, said = (
            ".".join(map(str, fault["loc"]))[:100],
            fault["msg"].replace("Input should", "it should"),
        )
        if isinstance(found := fault["input"], str | int | float | None):
            said += f", not {found!r:.40}"
        told.append(f"{place}: {said}" if place else fault["msg"].removeprefix("Value error, "))
    more = [f"and {len(told) - 3:,} more faults"] if len(told) > 3 else []
    return "; ".join([*told[:3], *more])
