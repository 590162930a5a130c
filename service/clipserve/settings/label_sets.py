"""The settings of label sets: where they are kept, and how many."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, DirectoryPath, Field

from clipserve.application.label_sets.request import LabelSetLimits
from clipserve.settings.values import NamedFolder, xdg_folder


class LabelSetSettings(BaseModel):
    """A part of `Settings`."""

    state_dir: NamedFolder = Field(
        default_factory=lambda: xdg_folder("XDG_STATE_HOME", "~/.local/state", "/var/lib/clipserve"),
        description="folder on a local disk for what must outlive the process, which is label sets; made at the "
        "first change; in place of ~/.local/state it is XDG_STATE_HOME, if that is set",
    )
    label_set_store: Literal["sqlite", "redis"] = Field(
        "sqlite",
        description="where label sets are kept: `sqlite`, a file in state_dir, for the gateways of one machine; "
        "`redis`, which needs redis_url, for those of several",
    )

    label_sets_folder: DirectoryPath | None = Field(
        None,
        description="folder of label sets as files, `pets.toml` or `pets.json`; followed when they change",
    )
    max_label_sets: int = Field(LabelSetLimits.max_label_sets, ge=0, description="label sets kept")
    max_label_sets_bytes: int = Field(
        LabelSetLimits.max_label_sets_bytes, ge=0, description="all label sets kept, with their embeddings"
    )
    max_label_set_bytes: int = Field(
        LabelSetLimits.max_label_set_bytes,
        ge=1,
        description="texts and example images of a label set; more raise the limit of JSON too",
    )
    max_label_set_prompts: int = Field(
        LabelSetLimits.max_label_set_prompts, ge=1, description="prompts of a label set, labels x templates"
    )
