"""Reads the settings from CLIPSERVE_* variables, and finds those that are invalid or unknown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from clipserve.settings import ModelSettings, Settings

_USER = re.compile(r"[^/@\s'\",]+(?=@)")  # the user and password of a URL
_JSON = ("CLIPSERVE_MODEL_SETTINGS",)
_OF_CLIENTS = {"CLIPSERVE_URL", "CLIPSERVE_KEY"}  # of commands that call a server; not settings
_OF_COMPOSE = {"CLIPSERVE_IMAGE"}  # of docker-compose.yml


class BadSettings(Exception):
    """Invalid CLIPSERVE_* variables: `variables`. Each of `reasons` is a line for people."""

    def __init__(self, *reasons: str, variables: Collection[str] = ()) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons
        self.variables = variables


def read_settings(**given: object) -> Settings:
    """The settings of the environment, overridden by the given ones.

    Raises:
        BadSettings: has each invalid variable, without the value of a secret.
    """
    try:
        return Settings(**given)  # type: ignore[arg-type] # it is checked
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        variables = {f"CLIPSERVE_{str(fault['loc'][0]).upper()}" for fault in faults}
        raise BadSettings(*map(_reason, faults), variables=variables) from None
    except (SettingsError, RecursionError) as error:
        reason = f"a CLIPSERVE_* variable that must be JSON is not: {error}"
        raise BadSettings(reason, variables=_JSON) from None


def unknown_variables(environment: Iterable[str]) -> dict[str, str]:
    """Each variable that would be ignored silently, and what to do about it."""
    known = {f"CLIPSERVE_{name.upper()}" for name in Settings.model_fields}
    found = (name for name in sorted(environment) if name.startswith("CLIPSERVE_"))
    return {name: _hint(name, known) for name in found if name not in known | _OF_CLIENTS | _OF_COMPOSE}


def _reason(fault: ErrorDetails) -> str:
    setting, *inside = map(str, fault["loc"])
    name = ".".join([f"CLIPSERVE_{setting.upper()}", *inside])
    secret = name.lower().endswith(("token", "redis_url", "otlp_endpoint"))
    value = "..." if secret else repr(fault["input"])[:200]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        names = ", ".join(ModelSettings.model_fields)
        message = f"not a setting that may differ from model to model. Those are: {names}"
    return _USER.sub("...", f"{name}={value}: {message}")


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}`clipserve settings` lists all"
