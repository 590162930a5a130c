"""The folder in which `clipserve` and the commands here look for a model by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipserve.settings import BadSettings, Settings, read_settings
from clipserve.wiring.model_names import find
from clipserve_models.errors import ModelsError


def in_cache(name: str) -> Path:
    """The default folder of an export of this name. Raises ModelsError: the settings name none."""
    return _settings().cache_dir / name


def folder_of(model: Path | None) -> Path | None:
    """The folder of an artifact, by folder or by name in the cache. Raises ArtifactError: there is none."""
    return None if model is None else find(model, _settings())


# A command gets the folder.
Artifact = Annotated[
    Path, typer.Argument(help="An artifact: its folder, or its name in the cache.", callback=folder_of)
]
Artifacts = Annotated[
    list[Path],
    typer.Argument(
        metavar="FOLDERS",
        help="Artifacts: their folders, or their names in the cache.",
        callback=lambda models: [folder_of(model) for model in models],
    ),
]


def _settings() -> Settings:
    try:
        return read_settings()
    except BadSettings as error:
        raise ModelsError(str(error)) from None
