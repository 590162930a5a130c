"""Writes an artifact as a Triton model repository.

OUT/<name>_image/  config.pbtxt   see `clipserve_models.triton_config`
OUT/<name>_text/   1/             the graph: model.onnx or model.plan
                   warmup/        inputs of the warm-up that must not be zeros
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from clipserve.clip.artifact import TEXT_GRAPH, read_manifest, verify_files
from clipserve_models.artifact import link
from clipserve_models.errors import ModelsError
from clipserve_models.triton_config import config, warm_up_file
from clipserve_models.triton_options import BackendName, RepositoryOptions
from clipserve_models.triton_plans import PLANS, check_plans
from clipserve_models.triton_towers import Tower, towers

_ONE_FILE = ("model.onnx", "model.plan")
_WRITTEN = "# Written by `clipserve models triton`, which removes this model when it writes others.\n"


def write_repository(folder: Path, out: Path, options: RepositoryOptions) -> list[str]:
    """Write the two models of the artifact `folder` into `out`; other models there stay (`remove_others`).

    Returns:
        their names in Triton.

    Raises:
        ArtifactError: `folder` is not a valid artifact.
        ModelsError: plans are missing or of another artifact; a model's folder in `out` is something else.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    made = towers(manifest, options)
    if options.backend == "tensorrt":
        check_plans(folder, manifest)
    for tower in made:
        graphs = _graphs(folder, tower, options.backend)
        model = _emptied(out / tower.name)
        text = text_format.MessageToString(config(manifest, tower, options))
        # First: what is left here if this process ends is a model of ours, which the next one replaces.
        (model / "config.pbtxt").write_text(_WRITTEN + text, "utf-8")
        version = model / "1"
        version.mkdir()
        for source, name in graphs.items():
            # onnx refuses weights beside a graph that have several hard links: the artifact's must not get another.
            (link if name in _ONE_FILE else shutil.copyfile)(source, version / name)
        if (
            tower.graph == TEXT_GRAPH
        ):  # `lengths` equal to the length of the text: one of no tokens does not exist
            (model / "warmup").mkdir()
            for (length,), _ in tower.shapes:
                (model / "warmup" / warm_up_file(length)).write_bytes(np.int32(length).tobytes())
    return [tower.name for tower in made]


def remove_others(out: Path, names: Collection[str]) -> list[str]:
    """Remove the models that `write_repository` has written into `out`, except those with these names.

    Returns:
        the names of those removed.
    """
    others = [
        model
        for model in sorted(out.iterdir())
        if model.name not in names and not model.is_symlink() and _is_ours(model / "config.pbtxt")
    ]
    for model in others:
        shutil.rmtree(_emptied(model))
    return [model.name for model in others]


def _is_ours(configuration: Path) -> bool:
    return configuration.is_file() and configuration.read_bytes().startswith(_WRITTEN.encode())


def _graphs(folder: Path, tower: Tower, backend: BackendName) -> dict[Path, str]:
    """The files of an encoder in the artifact, and their names in a model's version."""
    if backend == "tensorrt":
        return {folder / PLANS[tower.graph]: "model.plan"}
    # A graph of more than 2 GB has its weights in files beside it, which it knows by name.
    weights = {path: path.name for path in folder.glob(f"{tower.graph}?*")}
    return {folder / tower.graph: "model.onnx", **weights}


def _emptied(model: Path) -> Path:
    """The folder of a model, empty but for a former configuration: as long as that is there, it is a model.

    Raises:
        ModelsError: its path is something else, which must not be removed.
    """
    configured = (model / "config.pbtxt").is_file() and not model.is_symlink()
    if model.exists() and not configured and not (model.is_dir() and not any(model.iterdir())):
        raise ModelsError(f"{model} exists and is not a model of Triton's. Choose another folder with --out.")
    model.mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != "config.pbtxt":
            path.unlink()
    return model
