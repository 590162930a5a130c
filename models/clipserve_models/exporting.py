"""Exports what a name stands for: an entry of the catalog, a repository of the hub, or files of one's own.

Graphs of the families that `layouts` reads are built from weights; other models of open_clip are traced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipserve.clip.manifest import Source
from clipserve.wiring.model_names import HUB_NAME, folder_name, is_artifact
from clipserve_models.artifact import sha256_of
from clipserve_models.catalog import Entry, read_catalog, traced_at
from clipserve_models.errors import ModelsError, not_installed
from clipserve_models.model_files import UserFacts

NOT_STATED = "not stated"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")  # as in the manifest
_SHIPS = "demo"
Say = Callable[[str], None]


@dataclass(frozen=True)
class UserModel(UserFacts):
    """What the command line says of a model that is not in the catalog; None: the files say it."""

    name: str | None = None
    licence: str | None = None


def plan(model: str, by_user: UserModel) -> tuple[str, Callable[[Path, Say], object]] | None:
    """The name of the artifact of `model`, and what writes it to a folder; None: open_clip makes it, in PyTorch.

    Raises:
        ModelsError: the name is taken or cannot be one; options are given that say what the catalog says.
    """
    path = Path(model)
    if path.is_file() or (
        path.is_dir() and not is_artifact(path)
    ):  # `--out ViT-B-32` made one in this folder
        name = _own_name(by_user.name or (path.resolve().name if path.is_dir() else None), model)
        return name, lambda out, say: _from_files(path, out, name, by_user, say)
    if entry := read_catalog().get(model.replace("/", "-")):
        if by_user != UserModel():
            raise ModelsError(
                f"the catalog says all of {entry.name}: for a name or facts of your own give {entry.repository}, "
                "or a folder."
            )
        if not entry.built:
            return None
        pinned = f"{entry.repository}@{entry.revision or ''}"
        return entry.name, lambda out, say: _from_hub(pinned, out, entry.name, by_user, say, entry)
    if traced_at(model):
        return None
    if HUB_NAME.fullmatch(model):
        name = _own_name(by_user.name or folder_name(model), model)
        return name, lambda out, say: _from_hub(model, out, name, by_user, say)
    return None


def _from_hub(
    model: str, out: Path, name: str, by_user: UserModel, say: Say, entry: Entry | None = None
) -> None:
    """`model`: ORG/NAME or ORG/NAME@REVISION. `entry`: what the catalog says of it."""
    from clipserve_models import hub

    repository, _, revision = model.partition("@")
    where = hub.Repository(repository, revision or hub.MAIN)
    say(f"downloading {where.url}")
    found = hub.download(where)
    source = Source(checkpoint=where.url, revision=found.commit, licence=NOT_STATED)
    if entry is None:
        facts = {"licence": by_user.licence or found.licence or f"{NOT_STATED}: read {where.url}"}
    elif entry.digest in (None, *found.digests.values()):
        facts = entry.model_dump(include={"licence", "model", "pretrained"})
    else:
        raise ModelsError(
            f"no file of {where.url} at {found.commit} has the SHA-256 {entry.digest}, which the catalog has of "
            f"the weights of {entry.name}: they are others. Upgrade clipserve-models, or do not use this mirror."
        )
    _build(found.folder, by_user, out, name, source.model_copy(update=facts), found.digests, say)


def _from_files(path: Path, out: Path, name: str, by_user: UserModel, say: Say) -> None:
    source = Source(checkpoint=f"a file of yours: {path.name}", licence=by_user.licence or NOT_STATED)
    if path.is_dir():
        source = source.model_copy(update={"checkpoint": f"a folder of yours: {path.resolve().name}"})
    elif by_user.architecture and not _is_built(by_user.architecture):
        _trace(path, out, name, by_user, source, say)
        return
    digest = f"sha256:{sha256_of(path)}" if path.is_file() else None
    _build(path, by_user, out, name, source.model_copy(update={"revision": digest}), {}, say)


def _is_built(architecture: str) -> bool:
    from clipserve_models.layouts.open_clip_folder import ARCHITECTURES

    return architecture in json.loads(ARCHITECTURES.read_text("utf-8"))


def _trace(path: Path, out: Path, name: str, by_user: UserModel, source: Source, say: Say) -> None:
    """Of an architecture that no reader knows. Raises ModelsError: see `export`; or mean or std is not told."""
    if by_user.mean is None or by_user.std is None:
        raise ModelsError(
            f"{path} does not say how images are normalised: give --mean and --std, as it was trained."
        )
    try:
        from clipserve_models.export import export
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    entry = Entry(name=name, model=by_user.architecture or "", pretrained=None, licence=source.licence)
    facts = {"mean": by_user.mean, "std": by_user.std, "quick_gelu": by_user.activation == "quick_gelu"}
    export(entry, out, weights=path, own=(source.checkpoint, facts), say=say)


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

    try:
        checkpoint = read(path, by_user)
    except ModelsError as error:
        raise ModelsError(f"{error}{_other_way(path)}") from None
    files = {path.name: digests.get(path) or sha256_of(path) for path in checkpoint.files}
    build(checkpoint, out, name=name, source=source.model_copy(update={"files": files}), say=say)


def _other_way(path: Path) -> str:
    """How a model of open_clip that is refused here can be served: by its architecture's name, in PyTorch."""
    if not (path / "open_clip_config.json").is_file():
        return ""
    return (
        " Models of open_clip that are not built are traced by the name of their architecture: pip install "
        "'clipserve-models[export]', and `clipserve models export ARCHITECTURE --pretrained TAG`."
    )


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
