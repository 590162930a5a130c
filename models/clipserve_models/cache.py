"""The folder in which `clipserve` looks for a model by its name, and commands here too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from clipserve.settings.cache import CacheEnvironment
from clipserve.wiring.model_names import find
from clipserve_models.errors import ModelsError


def in_cache(name: str) -> Path:
    """Where an export of this name goes, unless it is told otherwise."""
    return _settings().cache_dir / name


def folder_of(model: Path | None) -> Path | None:
    """Of an artifact by its folder or its name in the cache. Raises ArtifactError: there is none of this name."""
    return None if model is None else find(model, _settings())


# A command gets the folder.
Artifact = Annotated[
    Path, typer.Argument(help="An artifact: its folder, or its name in the cache.", callback=folder_of)
]


def _settings() -> CacheEnvironment:
    try:
        return CacheEnvironment()
    except ValidationError as error:
        (fault, *_) = error.errors(include_url=False, include_context=False)
        name = f"CLIPSERVE_{str(fault['loc'][0]).upper()}"
        raise ModelsError(
            f"{name}={fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}."
        ) from None
