"""Reads models of other people's layouts, told apart by their files; `Checkpoint` is what all have in common.

A layout is one file here. Whatever it does not know is refused: a tensor without a role, a key that changes what is
computed, a fact that is missing or contradicts another. Nothing of a folder is run.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from clipserve_models.errors import ModelsError
from clipserve_models.layouts import open_clip_folder, transformers_folder
from clipserve_models.layouts.assigning import weight_files
from clipserve_models.layouts.facts import read_list
from clipserve_models.model_files import NOTHING, Checkpoint, UserFacts
from clipserve_models.weights import OPEN_CLIP, PICKLES


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
    folder = _inside(folder)
    ours, theirs = ((folder / layout.CONFIG).is_file() for layout in (open_clip_folder, transformers_folder))
    if not (ours or theirs):
        raise ModelsError(
            f"{folder} has neither {transformers_folder.CONFIG} nor {open_clip_folder.CONFIG}: it is no model "
            "of transformers or open_clip."
        )
    # Many repositories have both, and then transformers' may need code of their own.
    if ours and theirs:
        try:
            weight_files(folder, OPEN_CLIP)
        except ModelsError:
            ours = False
    return (open_clip_folder.read_open_clip if ours else transformers_folder.read_transformers)(
        folder, by_user
    )


def _inside(folder: Path) -> Path:
    """The folder of the CLIP that a folder of sentence-transformers (`modules.json`) is of, or the folder itself.

    Raises:
        ModelsError: it is of another model, or more than a CLIP.
    """
    path = folder / "modules.json"
    if not path.is_file() or (folder / transformers_folder.CONFIG).is_file():
        return folder
    kinds = {each.text("type").rpartition(".")[2]: each.text("path") for each in read_list(path)}
    if others := kinds.keys() - {"CLIPModel", "Normalize"}:
        raise ModelsError(f"{path} has a module {min(others)}, and only a CLIPModel is built.")
    name = kinds.get("CLIPModel", "")
    if Path(name).name != name:
        raise ModelsError(f"{path}: the path {name!r} of its CLIPModel is no folder in this one.")
    return folder / name
