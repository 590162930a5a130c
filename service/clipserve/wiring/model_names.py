"""Finds the folder of a model's artifact by what names the model, and has the artifact made first if it can.

CLIPSERVE_MODELS says what names one. All code that opens an artifact gets its folder here. The catalog is in
`clipserve_models`, which is never imported: `model_export` runs it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from clipserve import demo
from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import ModelManifest, Precision
from clipserve.settings import Settings
from clipserve.wiring.model_export import EXPORTER, export_into
from clipserve.wiring.model_folders import kind_of

# A name of the catalog or of a variant; or a repository of the hub, at a branch, tag, commit or pull request.
_NAME = re.compile(r"\w[\w.@-]*", re.ASCII)
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\w[\w./-]*)?", re.ASCII)
_GIVEN_NAME = re.compile(r"(\w[\w.@-]*)=(.+)", re.ASCII)


class NoSuchModel(ArtifactError):
    """There is no artifact of a name or folder; the message says how to make one.

    `in_folder`: it is made of a folder, without the hub.
    """

    in_folder = False


@dataclass(frozen=True)
class Opened:
    """An artifact that is to be served. Requests name it by `name` or an alias; its own is `manifest.name`."""

    name: str
    folder: Path
    manifest: ModelManifest
    aliases: tuple[str, ...] = ()

    @property
    def served(self) -> ModelManifest:
        """The manifest under the name of requests."""
        return self.manifest.model_copy(update={"name": self.name})


def opened(models: Iterable[Path]) -> list[Opened]:
    """The artifacts of folders, each as `provide` returns it. A folder that is there twice has an alias.

    Raises:
        ArtifactError: one cannot be read, or two have the same name.
    """
    found: dict[Path, Opened] = {}
    names: dict[str, Path] = {}
    for model in models:
        name, folder = _named(model)
        manifest = read_manifest(folder)
        name = name or manifest.name
        if name in names:
            raise ArtifactError(
                f"{names[name]} and {folder} in CLIPSERVE_MODELS are both named {name}. Give one of them another "
                f"name: CLIPSERVE_MODELS={names[name]},OTHER={folder}"
            )
        names[name] = folder
        if first := found.get(folder):
            found[folder] = replace(first, aliases=(*first.aliases, name))
        else:
            found[folder] = Opened(name, folder, manifest)
    return list(found.values())


def with_folders(settings: Settings) -> Settings:
    """The settings with each model's folder in place of its name. Missing models are exported first.

    Raises:
        ArtifactError: see `provide`.
    """
    folders = tuple(provide(model, settings) for model in settings.models)
    return settings.model_copy(update={"models": folders})


def find(model: Path, settings: Settings) -> Path:
    """`model` itself if it is an artifact or another path, else its folder: `demo`, or one in the cache.

    A name before it, `NAME=`, stays there.

    Raises:
        NoSuchModel: the model has no artifact yet.
    """
    name, source = _named(model)
    folder = _folder(source, settings.cache_dir)
    if folder not in (source, demo.FOLDER) and kind_of(folder) != "artifact":
        absent = NoSuchModel(f"{_absent(source, settings)}: {_remedy(str(source))}")
        absent.in_folder = os.path.isdir(source)
        raise absent
    return Path(f"{name}={folder}") if name else folder


def provide(model: Path, settings: Settings) -> Path:
    """Like `find`, but export a missing model into the cache, which takes seconds or minutes.

    Raises:
        NoSuchModel: an export is not possible here.
        ArtifactError: the export failed; the message has what the exporter said.
    """
    try:
        return find(model, settings)
    except NoSuchModel:
        _, source = _named(model)
        if _is_variant(str(source)) or not _can_export():
            raise
    folder = _folder(source, settings.cache_dir)
    try:
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        if failure := export_into(folder, str(source)):
            raise ArtifactError(f"{_absent(source, settings)}, and its export ended {failure}")
    except OSError as error:
        raise ArtifactError(
            f"{_absent(source, settings)}, and it cannot be exported there: {error.strerror}. Name another folder "
            "in CLIPSERVE_CACHE_DIR."
        ) from None
    return find(model, settings)


def folder_name(name: str) -> str:
    """The name of a model's folder in the cache, and of its artifact: a repository's slashes become `--`."""
    return name.replace("/", "--")


def _named(model: Path) -> tuple[str | None, Path]:
    """The name and the model of `NAME=MODEL`. A folder that is called so is no such pair."""
    match = None if os.path.isdir(model) else _GIVEN_NAME.fullmatch(str(model))
    return (match[1], Path(match[2])) if match else (None, model)


def _folder(model: Path, cache: Path) -> Path:
    """The folder of the artifact of `model`, which need not be there; `model` itself if it names no other."""
    name = str(model)
    if os.path.isdir(model):
        if (kind := kind_of(model)) in ("artifact", None):
            return model
        # The weights of sentence-transformers may be in a folder of their own.
        state = _state(model, "*", "*/*") if kind == "sentence-transformers" else _state(model, "*")
        return cache / f"{model.resolve().name}-{state}"
    if name == "demo":
        return demo.FOLDER
    if _NAME.fullmatch(name) or HUB_NAME.fullmatch(name):
        return cache / folder_name(name)
    return model


def _state(weights: Path, *patterns: str) -> str:
    """Eight digits that are others for another folder, and once a file of `patterns` in it is written again."""
    files = sorted(path for pattern in patterns for path in weights.glob(pattern) if path.is_file())
    facts = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join([str(weights.resolve()), *facts]).encode()).hexdigest()[:8]


def _absent(model: Path, settings: Settings) -> str:
    if os.path.isdir(model):
        return f"{model} is a folder of weights, of which {settings.cache_dir} has no artifact"
    return f"{model} is neither a folder nor a model in {settings.cache_dir}"


def _remedy(name: str) -> str:
    if _is_variant(name):
        base, _, precision = name.partition("@")
        return f"make it with `clipserve models variant {base} --precision {precision} --photos PHOTOS`"
    if not _can_export():
        return "install what exports it: pip install clipserve, or clipserve-gpu"
    makes = f"`clipserve models export {name}` makes it, as does a start of the service"
    who = "the hub" if "/" in name else "`clipserve models list`"
    return makes if os.path.isdir(name) else f"if {who} has it, {makes}; if not, correct the name"


def _is_variant(name: str) -> bool:
    return name.rpartition("@")[2] in get_args(Precision) and not os.path.isdir(name)


def _can_export() -> bool:
    return importlib.util.find_spec(EXPORTER) is not None
