"""Validates the fields of a request by pydantic; an error names five faults at most."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields as fields_of
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
    # Into a new object, because in JSON a dataclass is not strictly a dictionary.
    given: Any = fields if issubclass(kind, BaseModel) else ArgsKwargs((), fields)
    validate: Callable[..., T] = validator_of(kind)  # type: ignore[arg-type]
    try:
        return validate(given, strict=strict, self_instance=kind.__new__(kind))
    except ValidationError as error:
        raise InvalidInput(_faults(kind, error)) from None


@functools.cache
def validator_of(kind: Any) -> Any:
    """What validates requests of this kind. It is made once, which takes milliseconds."""
    return TypeAdapter(kind).validator.validate_python


def _faults(kind: type[Any], error: ValidationError) -> str:
    if (count := error.error_count()) > _COUNTED:
        return f"the request has {count:,} fields that are unknown or wrong."
    said, hint = [], ""
    for fault in error.errors(include_url=False, include_input=False, include_context=False)[:_TOLD]:
        unknown = fault["type"] in _UNKNOWN
        place = ".".join(str(part)[:64] for part in fault["loc"])
        said.append(f"{place}: {'no such field' if unknown else fault['msg']}")
        if unknown and len(fault["loc"]) == 1:
            own = (
                kind.model_fields if issubclass(kind, BaseModel) else [each.name for each in fields_of(kind)]
            )
            hint = f" Known fields: {', '.join(own)}."
    return f"{'; '.join(said)}.{hint}"
