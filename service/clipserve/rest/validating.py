"""Validates the fields of a request by pydantic; an error names five faults at most."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs

from clipserve.errors import InvalidInput

T = TypeVar("T")

_TOLD = 5  # faults
_COUNTED = 1_000  # faults: of more only the number is told, because each would be made
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def validated(kind: type[T], fields: dict[str, Any], *, strict: bool = True) -> T:
    """The request of this kind, a model or a dataclass. `strict`: as in JSON, where "5" is no number.

    Raises:
        InvalidInput: a field is missing, unknown or of the wrong type.
    """
    try:
        if issubclass(kind, BaseModel):
            return kind.model_validate(fields, strict=strict)
        # Into a new object, because a dataclass is not strictly a dictionary.
        validate: Callable[..., T] = validator_of(kind)  # type: ignore[arg-type]
        return validate(ArgsKwargs((), fields), strict=strict, self_instance=kind.__new__(kind))
    except ValidationError as error:
        raise InvalidInput(_faults(kind, error)) from None


@functools.cache
def validator_of(kind: Any) -> Any:
    """What validates requests of this kind, a dataclass. It is made once, which takes milliseconds."""
    return TypeAdapter(kind).validator.validate_python


def _faults(kind: Any, error: ValidationError) -> str:
    if (count := error.error_count()) > _COUNTED:
        return f"the request has {count:,} fields that are unknown or wrong."
    faults = error.errors(include_url=False, include_input=False, include_context=False)[:_TOLD]
    said, hint = [], ""
    for fault in faults:
        unknown = fault["type"] in _UNKNOWN
        place = ".".join(str(part)[:64] for part in fault["loc"])
        said.append(f"{place}: {'no such field' if unknown else fault['msg']}")
        if unknown and len(fault["loc"]) == 1:
            hint = f" Known fields: {', '.join(_names(kind))}."
    return f"{'; '.join(said)}.{hint}"


def _names(kind: Any) -> list[str]:
    if issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return [field.name for field in dataclasses.fields(kind)]
