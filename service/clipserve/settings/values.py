"""Parses values from the environment: lists with commas, and folders of the user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

T = TypeVar("T")


def xdg_folder(variable: str, usual: str, without_home: str) -> Path:
    """clipserve's folder in the one that `variable` names, else in `usual`.

    `without_home`: for a user without a home. As in the XDG Base Directory Specification, a relative folder in the
    variable is ignored.
    """
    base = Path(os.environ.get(variable, ""))
    if not base.is_absolute():
        base = Path(os.path.expanduser(usual))  # unchanged for a user without a home
    return base / "clipserve" if base.is_absolute() else Path(without_home)


def _named(value: object) -> object:
    if not isinstance(value, str):
        return value
    folder = os.path.expanduser(value)
    if not folder or folder.startswith("~"):
        raise ValueError("write the path of a folder; `~` needs a user with a home")
    return folder


NamedFolder = Annotated[Path, BeforeValidator(_named)]  # `~` is expanded


def split(value: object) -> object:
    """Split a list at its commas: CLIPSERVE_MODELS=demo,ViT-B-32."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _some(value: object) -> object:
    return [part for each in value.split(",") if (part := each.strip())] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]
Several = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_some)]  # or none: empty items are left out
