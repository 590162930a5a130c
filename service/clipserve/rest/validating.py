"""Validates the fields of a request by pydantic; errors say five faults at most."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Container, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs

from clipserve.errors import InvalidInput

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_MAX_FAULTS = 5


class Validate(Protocol[T_co]):
    """Makes a validated value of fields. `strict`: as in JSON. Raises ValidationError."""

    def __call__(self, fields: dict[str, Any], /, *, strict: bool) -> T_co: ...


class Reader(NamedTuple, Generic[T]):
    """What reads requests of one kind. `hint`: what an error tells of the known fields."""

    validate: Validate[T]
    known: frozenset[str]
    hint: str


@functools.cache
def reader_of(kind: Any) -> Reader[Any]:
    """That of a dataclass of `clipserve.api.requests`."""
    validator = TypeAdapter(kind).validator
    names = [field.name for field in sorted(dataclasses.fields(kind), key=lambda field: bool(field.kw_only))]

    def validate(fields: dict[str, Any], *, strict: bool) -> Any:
        # Into a new object, because a dataclass is not strictly a dictionary.
        made = kind.__new__(kind)
        return validator.validate_python(ArgsKwargs((), fields), strict=strict, self_instance=made)

    return Reader(validate, frozenset(names), f" Known fields: {', '.join(names)}.")


def unknown(place: str, names: Iterable[str], known: Container[str]) -> Iterator[str]:
    """The errors of unknown fields, made lazily: a request can have any number of them."""
    return (f"{place}{name[:64]}: no such field" for name in names if name not in known)


def validated(
    validate: Validate[T],
    fields: dict[str, Any],
    strange: Iterable[str] = (),
    hint: str = "",
    *,
    strict: bool = True,
) -> T:
    """The fields of a request, validated. `strange`: errors found before. `hint`: ends the message.

    Raises:
        InvalidInput: a field is invalid; the message names five at most.
    """
    faults = list(islice(strange, _MAX_FAULTS))
    if not faults:
        try:
            return validate(fields, strict=strict)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            faults = [f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in found[:_MAX_FAULTS]]
    raise InvalidInput(f"{'; '.join(faults)}.{hint}")
