"""The settings of where label sets are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, field_validator

_WITHOUT_HOME = Path("/var/lib/clipserve")


def _default_folder() -> Path:
    """As in the XDG Base Directory Specification, by which a relative XDG_STATE_HOME does not count."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        state = Path(os.path.expanduser("~/.local/state"))  # left as it is for a user without a home
    return state / "clipserve" if state.is_absolute() else _WITHOUT_HOME


class LabelSetSettings(BaseModel):
    """A part of `Settings`."""

    state_dir: Path = Field(
        default_factory=_default_folder,
        description="folder on a local disk for what must outlive the process, which is label sets; made at the "
        "first change; in place of ~/.local/state it is XDG_STATE_HOME, if that is set",
    )
    label_set_store: Literal["sqlite", "redis"] = Field(
        "sqlite",
        description="where label sets are kept: `sqlite`, a file in state_dir, for the gateways of one machine; "
        "`redis`, which needs redis_url, for those of several",
    )

    @field_validator("state_dir", mode="before")
    @classmethod
    def _is_a_folder(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        folder = os.path.expanduser(value)
        if not folder or folder.startswith("~"):
            raise ValueError("write the path of a folder; `~` needs a user with a home")
        return folder
