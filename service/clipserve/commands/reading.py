"""Reads the settings of commands, and ends a command that cannot continue."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from clipserve.commands.printing import say
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


def fail(*reasons: str, status: int = 1) -> NoReturn:
    """Print the reason on standard error, and end the command with this exit status."""
    for reason in reasons:
        say(f"clipserve: {reason}", err=True)
    raise typer.Exit(status)


@contextmanager
def failing(*kinds: type[Exception], status: int = 1) -> Iterator[None]:
    """Print an error of these kinds, and end the command."""
    try:
        yield
    except kinds as error:
        fail(str(error), status=status)


def _reason(fault: ErrorDetails) -> str:
    setting, *inside = map(str, fault["loc"])
    name = ".".join([f"CLIPSERVE_{setting.upper()}", *inside])
    secret = name.lower().endswith(("token", "redis_url", "otlp_endpoint"))
    given = "..." if secret else repr(fault["input"])[:200]
    return _USER.sub("...", f"{name}={given}: {_said(fault)}")


def _said(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        names = ", ".join(ModelSettings.model_fields)
        return f"not a setting that may differ from model to model. Those are: {names}"
    return fault["msg"].removeprefix("Value error, ")
