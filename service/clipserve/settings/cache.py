"""The settings of where models are that are served by their names, and the model that ships."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from clipserve.settings.values import named_folder, xdg_folder


class CacheSettings(BaseModel):
    """A part of `Settings`."""

    cache_dir: Path = Field(
        default_factory=lambda: xdg_folder("XDG_CACHE_HOME", "~/.cache", "/var/cache/clipserve"),
        description="folder of models that are served by their names; `clipserve models export` writes there; in "
        "place of ~/.cache it is XDG_CACHE_HOME, if that is set",
    )
    export: bool = Field(
        True,
        description="export a model of the catalog that is not in cache_dir before the start goes on, where "
        "`clipserve-models[export]` is installed; false: refuse to start",
    )

    @field_validator("cache_dir", mode="before")
    @classmethod
    def _is_the_cache(cls, value: object) -> object:
        return named_folder(value)


class CacheEnvironment(CacheSettings, BaseSettings):
    """These settings alone, as the environment has them: whatever the others are."""

    model_config = SettingsConfigDict(env_prefix="CLIPSERVE_")
