"""The constants of the layers set to other values, by their names: so it is tested what happens at a limit.

`python -m tests.support.constants` is the service with those of OTHER_CONSTANTS, as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import clipserve.__main__
from clipserve.settings import ModelSettings, Settings
from clipserve.wiring.options import GatewayOptions
from clipserve.wiring.use_cases import Limits


def constants_among(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are no settings, and that a layer has."""
    return {name: value for name, value in settings.items() if name in _KNOWN - set(Settings.model_fields)}


def with_constants(part: Any, constants: Mapping[str, Any]) -> Any:
    """The same options with other values, wherever fields of these names are."""
    changes = {
        field.name: with_constants(value, constants)
        for field in fields(part)
        if is_dataclass(value := getattr(part, field.name))
    }
    return replace(part, **changes, **{name: constants[name] for name in _names(part) & set(constants)})


def _names(part: Any) -> set[str]:
    return {field.name for field in fields(part)}


def _all_names(part: Any) -> set[str]:
    inside = (getattr(part, name) for name in _names(part))
    return _names(part).union(*(_all_names(each) for each in inside if is_dataclass(each)))


_OF_TRITON = {"silent_seconds", "share_seconds"}  # of TritonOptions, which would load gRPC here
_KNOWN = _all_names(GatewayOptions.of(Settings())) | _OF_TRITON


def run_with(constants: Mapping[str, Any], main: Callable[[], None] = clipserve.__main__.main) -> None:
    """The service, or what `main` makes of it, with these."""

    def changed(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: with_constants(make(*args, **kwargs), constants)

    # A start takes some options before it has loaded the layers of the others.
    GatewayOptions.of = changed(GatewayOptions.of)  # type: ignore[method-assign]
    Limits.of = changed(Limits.of)  # type: ignore[method-assign]
    ModelSettings.options = changed(ModelSettings.options)  # type: ignore[method-assign]
    main()


def others() -> dict[str, Any]:
    """Those of OTHER_CONSTANTS."""
    constants: dict[str, Any] = json.loads(os.environ.get("OTHER_CONSTANTS", "{}"))
    return constants


if __name__ == "__main__":
    run_with(others())
