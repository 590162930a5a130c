"""The settings of the folder of models that are served by name."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from clipserve.settings.values import NamedFolder, xdg_folder


class CacheSettings(BaseModel):
    """A part of `Settings`."""

    cache_dir: NamedFolder = Field(
        default_factory=lambda: xdg_folder("XDG_CACHE_HOME", "~/.cache", "/var/cache/clipserve"),
        description="folder of models that are served by name; `clipserve models export` writes there, and a start "
        "stores which engine is faster here; XDG_CACHE_HOME, if set, replaces ~/.cache",
    )
    export: bool = Field(
        True,
        description="make the artifact of a model that is not in cache_dir at the start, downloading its weights; "
        "false: refuse to start",
    )


class CacheEnvironment(CacheSettings, BaseSettings):
    """Only these settings, from the environment, even if others are invalid."""

    model_config = SettingsConfigDict(env_prefix="CLIPSERVE_")
