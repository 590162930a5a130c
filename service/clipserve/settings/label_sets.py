"""The settings of label sets: their store and their limits."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, DirectoryPath, Field

from clipserve.application.label_sets.request import LabelSetLimits
from clipserve.settings.values import NamedFolder, xdg_folder


class LabelSetSettings(BaseModel):
    """A part of `Settings`."""

    state_dir: NamedFolder = Field(
        default_factory=lambda: xdg_folder("XDG_STATE_HOME", "~/.local/state", "/var/lib/clipserve"),
        description="folder on a local disk for data that must outlive the process: label sets; created at the "
        "first change; XDG_STATE_HOME, if set, replaces ~/.local/state",
    )
    label_set_store: Literal["files", "redis"] = Field(
        "files",
        description="store of label sets: `files`, in state_dir, for gateways of one machine; `redis`, "
        "which needs redis_url, for those of several",
    )

    label_sets_folder: DirectoryPath | None = Field(
        None,
        description="folder of label sets as files, `pets.toml` or `pets.json`; changes are loaded",
    )
    max_label_sets_bytes: int = Field(
        LabelSetLimits.max_label_sets_bytes, ge=0, description="all label sets stored, with their embeddings"
    )
    max_label_set_bytes: int = Field(
        LabelSetLimits.max_label_set_bytes,
        ge=1,
        description="texts and example images of a label set; more raise the limit of JSON too",
    )
