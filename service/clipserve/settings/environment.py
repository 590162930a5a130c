"""Reads the settings from CLIPSERVE_* variables, and says what is wrong with those that are invalid or unknown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from clipserve.settings import ModelSettings, Settings

_USER = re.compile(r"[^/@\s'\",]+(?=@)")  # the user and password of a URL
_NAMES = [name.upper() for name in Settings.model_fields]
_JSON = ("CLIPSERVE_MODEL_SETTINGS",)
_LEAST_LIKENESS = 0.5  # of a name that may have been meant


class BadSettings(ValueError):
    """Invalid or unknown CLIPSERVE_* variables: `variables`. Each of `reasons` is a line for people."""

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
        variables = {_variable(fault) for fault in faults}
        raise BadSettings(*map(_reason, faults), variables=variables) from None
    except (SettingsError, RecursionError) as error:
        reason = f"a CLIPSERVE_* variable that must be JSON is not: {error}"
        raise BadSettings(reason, variables=_JSON) from None


def _reason(fault: ErrorDetails) -> str:
    variable, inside = _variable(fault), [str(each) for each in fault["loc"][1:]]
    if fault["type"] == "extra_forbidden" and not inside:  # its value may be a secret
        near = difflib.get_close_matches(variable.removeprefix("CLIPSERVE_"), _NAMES, 1, _LEAST_LIKENESS)
        meant = f"did you mean CLIPSERVE_{near[0]}? " if near else ""
        return f"{variable} is not a setting: {meant}`clipserve settings` lists all"
    name = ".".join([variable, *inside])
    secret = name.lower().endswith(("token", "redis_url", "otlp_endpoint"))
    value = "..." if secret else repr(fault["input"])[:200]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        names = ", ".join(ModelSettings.model_fields)
        message = f"not a setting that may differ from model to model. Those are: {names}"
    return _USER.sub("...", f"{name}={value}: {message}")


def _variable(fault: ErrorDetails) -> str:
    """The variable of a fault; of an unknown one pydantic has the whole name, not that of a field."""
    return f"CLIPSERVE_{str(fault['loc'][0]).upper().removeprefix('CLIPSERVE_')}"
