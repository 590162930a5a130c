"""Exports what a name stands for: in the catalog, on the hub, in a folder of one's own, or in open_clip.

Graphs of the families that `layouts` reads are built from weights; other models of open_clip are traced.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clipserve.clip.manifest import Source
from clipserve.wiring.model_folders import kind_of
from clipserve.wiring.model_names import HUB_NAME, folder_name
from clipserve_models.artifact import sha256_of
from clipserve_models.catalog import RANDOM, Entry, read_catalog, unknown
from clipserve_models.errors import ModelsError, NotBuilt, not_installed
from clipserve_models.layouts.assigning import weight_files
from clipserve_models.model_files import UserFacts
from clipserve_models.weights import OPEN_CLIP

NOT_STATED = "not stated"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")  # as in the manifest
_SHIPS = "demo"
Say = Callable[[str], None]


@dataclass(frozen=True)
class UserModel(UserFacts):
    """What the command line says of a model that is not in the catalog; None: the files say it."""

    name: str | None = None
    licence: str | None = None


def plan(model: str, by_user: UserModel) -> tuple[str, Callable[[Path, Say], object]]:
    """The name of the artifact of `model`, and what writes it to a folder.

    Raises:
        ModelsError: nothing has the name; that of the artifact is taken or cannot be one; options are given that
            say what the catalog says.
    """
    path = Path(model)
    artifact = kind_of(path) == "artifact"  # `--out ViT-B-32` made one in this folder
    if path.is_file() or (path.is_dir() and not artifact):
        name = _own_name(by_user.name or (path.resolve().name if path.is_dir() else None), model)
        return name, lambda out, say: _from_files(path, out, name, by_user, say)
    if entry := read_catalog().get(model.replace("/", "-")):
        if by_user != UserModel():
            raise ModelsError(
                f"the catalog says all of {entry.name}: for a name or facts of your own give {entry.repository}, "
                "or a folder."
            )
        return entry.name, lambda out, say: _from_hub(entry.repository, out, entry.name, by_user, say, entry)
    if HUB_NAME.fullmatch(model):
        name = _own_name(by_user.name or folder_name(model), model)
        return name, lambda out, say: _from_hub(model, out, name, by_user, say)
    if artifact:
        raise ModelsError(f"{model} is an artifact already: serve it with `clipserve --model {model}`.")
    raise unknown(model)


def _from_hub(
    model: str, out: Path, name: str, by_user: UserModel, say: Say, entry: Entry | None = None
) -> None:
    """`model`: ORG/NAME or ORG/NAME@REVISION. `entry`: what the catalog says of it."""
    from clipserve_models import hub
    from clipserve_models.layouts import open_clip_folder

    repository, _, revision = model.partition("@")
    if entry and entry.model not in open_clip_folder.known():
        _check_tracer(entry)
    where = hub.Repository(repository, revision or hub.MAIN)
    say(f"downloading {where.url}")
    found = hub.download(where)
    source = Source(checkpoint=where.url, revision=found.commit, licence=NOT_STATED)
    if entry is None:
        facts = {"licence": by_user.licence or found.licence or f"{NOT_STATED}: read {where.url}"}
    else:
        facts = entry.model_dump(include={"licence", "model", "pretrained"})
    _build(found.folder, by_user, out, name, source.model_copy(update=facts), found.digests, say)


def _check_tracer(entry: Entry) -> None:
    """Raises ModelsError: PyTorch, which traces this model, is missing; before a download of gigabytes."""
    try:
        tracer()
    except ModelsError as missing:
        raise ModelsError(
            f"{entry.name} is not built from its weights: PyTorch traces it, but {missing}"
        ) from None


def _from_files(path: Path, out: Path, name: str, by_user: UserModel, say: Say) -> None:
    source = Source(checkpoint=f"a file of yours: {path.name}", licence=by_user.licence or NOT_STATED)
    if path.is_dir():
        source = source.model_copy(update={"checkpoint": f"a folder of yours: {path.resolve().name}"})
    digest = f"sha256:{sha256_of(path)}" if path.is_file() else None
    _build(path, by_user, out, name, source.model_copy(update={"revision": digest}), {}, say)


def _build(
    path: Path,
    by_user: UserFacts,
    out: Path,
    name: str,
    source: Source,
    digests: Mapping[Path, str],
    say: Say,
) -> None:
    from clipserve_models.build import build  # loads onnx, which most commands do not need
    from clipserve_models.layouts import read

    def with_files(paths: Iterable[Path]) -> Source:
        files = {path.name: digests.get(path) or sha256_of(path) for path in paths}
        return source.model_copy(update={"files": files})

    try:
        checkpoint = read(path, by_user)
    except NotBuilt as error:
        try:
            traced = tracer()
        except ModelsError as missing:
            raise ModelsError(f"{error} PyTorch traces other models of open_clip, but {missing}") from None
        say(f"{error} So open_clip's own modules are traced.")
        folder = path.is_dir()
        weights = weight_files(path, OPEN_CLIP)[-1] if folder else path
        known = {key: value for key, value in asdict(by_user).items() if key in ("mean", "std") and value}
        traced.trace(
            f"local-dir:{path}" if folder else by_user.architecture,
            out,
            name=name,
            source=with_files([weights]),
            weights=weights,
            tag=known | {"quick_gelu": by_user.activation == "quick_gelu"},
            say=say,
        )
    else:
        build(checkpoint, out, name=name, source=with_files(checkpoint.files), say=say)


def plan_of_random(model: str, seed: int) -> tuple[str, Callable[[Path, Say], object]]:
    """As `plan`, of a model of the catalog or of open_clip with random weights.

    Raises:
        ModelsError: PyTorch is missing, or there is no such model.
    """
    traced = tracer()
    import open_clip
    import torch

    model = model.replace("/", "-")
    entry = read_catalog().get(model)
    architecture, known = entry.model if entry else model, open_clip.list_models()
    if architecture not in known:
        raise unknown(model, known)
    source = Source(
        checkpoint=f"open_clip {architecture}, random weights of seed {seed}",
        licence="none: random weights",
        random_weights=True,
        seed=seed,
        model=architecture,
    )
    torch.manual_seed(seed)
    name = model + RANDOM
    make = partial(traced.trace, architecture, name=name, source=source, weights=None, tag={})
    return name, lambda out, say: make(out, say=say)


def tracer() -> Any:
    """What traces. Raises ModelsError: PyTorch is not installed."""
    try:
        from clipserve_models import traced
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    logging.disable(logging.WARNING)  # open_clip and the exporter log a lot
    return traced


def _own_name(name: str | None, model: str) -> str:
    """Raises ModelsError: it is missing, of the catalog, or no name."""
    if name is None:
        raise ModelsError(f"{model} is a file of yours: give the model's name with --name.")
    if name in read_catalog() or name == _SHIPS:
        raise ModelsError(f"{name} is the name of another model: give {model} a name of its own with --name.")
    if not _NAME.fullmatch(name):
        raise ModelsError(
            f"a model cannot be named {name[:120]!r}: give --name, up to 100 letters, digits, and . _ @ -, the "
            "first a letter or digit."
        )
    return name
