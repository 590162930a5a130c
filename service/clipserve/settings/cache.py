"""The settings of where models are that are served by their names, and the model that ships."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from clipserve.settings.values import NamedFolder, xdg_folder


class CacheSettings(BaseModel):
    """A part of `Settings`."""

    cache_dir: NamedFolder = Field(
        default_factory=lambda: xdg_folder("XDG_CACHE_HOME", "~/.cache", "/var/cache/clipserve"),
        description="folder of models that are served by their names; `clipserve models export` writes there, and "
        "a start which engine is the faster one here; in place of ~/.cache it is XDG_CACHE_HOME, if that is set",
    )
    export: bool = Field(
        True,
        description="export a model of the catalog that is not in cache_dir before the start goes on, where "
        "`clipserve-models[export]` is installed; false: refuse to start",
    )


class CacheEnvironment(CacheSettings, BaseSettings):
    """These settings alone, as the environment has them: whatever the others are."""

    model_config = SettingsConfigDict(env_prefix="CLIPSERVE_")
