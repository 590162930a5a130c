"""Reads the settings of commands from the environment."""

from __future__ import annotations

import re
from collections.abc import Collection

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from clipserve.settings import ModelSettings, Settings

_USER = re.compile(r"[^/@\s'\",]+(?=@)")  # the user and password of a URL
_JSON = ("CLIPSERVE_MODEL_SETTINGS",)


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
