"""Reads models of other people's layouts, told apart by their files; `Checkpoint` is what all have in common.

A layout is one file here. Whatever it does not know is refused: a tensor without a role, a key that changes what is
computed, a fact that is missing or contradicts another. Nothing of a folder is run.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from clipserve.wiring.model_folders import MODULES, OPEN_CLIP, TRANSFORMERS, kind_of
from clipserve_models.errors import ModelsError
from clipserve_models.layouts import open_clip_folder, transformers_folder
from clipserve_models.layouts.facts import read_list
from clipserve_models.model_files import NOTHING, Checkpoint, UserFacts
from clipserve_models.weights import PICKLES

# Modules of sentence-transformers: before version 5, and since.
_CLIPS = ("CLIPModel", "Transformer")


def read(path: Path, by_user: UserFacts = NOTHING) -> Checkpoint:
    """The model of a folder, or of a file of weights.

    `by_user`: mean and deviation only where the files do not say; of a file its architecture, and its activation if
    that is another one.

    Raises:
        NotBuilt: open_clip has the model, and it is of a kind that is not built here.
        ModelsError: there is no such file, it is of another family, or something is missing or contradictory.
    """
    try:
        if path.is_dir():
            if by_user.architecture or by_user.activation:
                raise ModelsError(
                    f"the files of {path} say what its architecture and activation are: do not give them."
                )
            return _folder(path, by_user)
        if path.suffix not in (".safetensors", *PICKLES) or not path.is_file():
            raise ModelsError(
                f"{path} is neither a folder nor a file of weights, .safetensors or {', '.join(PICKLES)}."
            )
        if by_user.architecture is None:
            raise ModelsError(
                f"{path} does not say its architecture: give open_clip's name of it with --model."
            )
        return open_clip_folder.read_single(path, by_user.architecture, by_user)
    except ModelsError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelsError(f"{path}: {where} cannot be {first['input']!r}: {first['msg']}.") from None


def _folder(folder: Path, by_user: UserFacts) -> Checkpoint:
    kind = kind_of(folder)
    if kind == "sentence-transformers" and (inside := _inside(folder)) != folder:
        folder, kind = inside, kind_of(inside)
    if kind == "open_clip":
        return open_clip_folder.read_open_clip(folder, by_user)
    if kind == "artifact":
        raise ModelsError(f"{folder} is an artifact already, which needs no export.")
    if not (folder / TRANSFORMERS).is_file():
        raise ModelsError(
            f"{folder} has neither {TRANSFORMERS} nor {OPEN_CLIP}: it is no model of transformers or open_clip."
        )
    return transformers_folder.read_transformers(folder, by_user)


def _inside(folder: Path) -> Path:
    """The folder of the CLIP that a folder of sentence-transformers is of, which may be itself.

    Raises:
        ModelsError: it is of another model, or more than a CLIP.
    """
    path = folder / MODULES
    kinds = {each.text("type").rpartition(".")[2]: each.text("path") for each in read_list(path)}
    if others := kinds.keys() - {*_CLIPS, "Normalize"}:
        raise ModelsError(f"{path} has a module {min(others)}, and only a CLIP is built.")
    name = next((kinds[each] for each in _CLIPS if each in kinds), "")
    if Path(name).name != name:
        raise ModelsError(f"{path}: the path {name!r} of its CLIP is no folder in this one.")
    return folder / name
