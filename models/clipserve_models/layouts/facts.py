"""Values of JSON files; errors name the file and the key."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from clipserve.files import read_bounded
from clipserve_models.errors import ModelsError
from clipserve_models.model_files import Triple

_MAX_BYTES = 10_000_000
_Choice = TypeVar("_Choice")


class Facts:
    """The values of a JSON object. A value of null is a missing one.

    Every method raises ModelsError if the value is missing and there is no default, or is of another kind.
    """

    def __init__(self, file: Path | str, values: Mapping[str, Any], at: str = "") -> None:
        self.file = file
        self.values = {key: value for key, value in values.items() if value is not None}
        self.nulls = values.keys() - self.values.keys()
        self._at = at

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def get(self, key: str, default: Any = None) -> Any:
        """The value, whatever it is; without a default it must be there."""
        if key not in self.values and default is None:
            raise ModelsError(f"{self.file} has no {self._at}{key}: add it; no default is taken for it.")
        return self.values.get(key, default)

    def integer(self, key: str, default: int | None = None) -> int:
        """A number of 0 or more."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.refuse(key, "a whole number of 0 or more is needed")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.refuse(key, "a number is needed")
        return float(value)

    def integers(self, key: str) -> list[int]:
        """A list of numbers of 0 or more."""
        value = self.get(key)
        if not isinstance(value, list) or any(type(each) is not int or each < 0 for each in value):
            self.refuse(key, "whole numbers of 0 or more are needed")
        return list(value)

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self.get(key, default)
        if not isinstance(value, str):
            self.refuse(key, "a string is needed")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            self.refuse(key, "true or false is needed")
        return value

    def choice(self, key: str, choices: Mapping[Any, _Choice], default: Any = None) -> _Choice:
        """What the value stands for."""
        value = self.get(key, default)
        if isinstance(value, list | dict) or value not in choices:
            self.refuse(key, f"supported: {', '.join(map(repr, choices))}")
        return choices[value]

    def triple(self, key: str, by_user: Triple | None) -> Triple:
        """Three numbers, for red, green and blue. `by_user`: for files that do not say."""
        if key not in self.values and by_user is not None:
            return by_user
        value = self.get(key)
        numbers = isinstance(value, list) and all(type(each) in (int, float) for each in value)
        if not numbers or len(value) != 3 or not all(map(math.isfinite, value)):
            self.refuse(key, "three numbers are needed, for red, green and blue")
        if by_user is not None and list(by_user) != value:
            self.refuse(key, f"{list(by_user)} was given, which is only for files that do not say")
        return float(value[0]), float(value[1]), float(value[2])

    def side(self, key: str, default: int | None = None) -> int:
        """The side of a square: one number, or a height and a width that are equal."""
        value = self.get(key, default)
        sides = (
            list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
        )
        if not sides or any(type(each) is not int or each < 1 for each in sides) or len(set(sides)) != 1:
            self.refuse(key, "one number of pixels is needed, because the service makes square images only")
        return int(sides[0])

    def section(self, key: str, default: Mapping[str, Any] | None = None) -> Facts:
        """The object under this key."""
        value = self.get(key, default)
        if not isinstance(value, dict):
            self.refuse(key, "an object is needed")
        return Facts(self.file, value, f"{self._at}{key}.")

    def refuse(self, key: str, why: str) -> NoReturn:
        """Raises ModelsError, which names the file, the key and its value."""
        value = json.dumps(self.values.get(key), default=str)
        shown = value if len(value) < 200 else f"{value[:200]}..."
        raise ModelsError(f"{self.file}: {self._at}{key} is {shown}; {why}.")


def read_facts(path: Path) -> Facts:
    """The object of a JSON file.

    Raises:
        ModelsError: it is missing, larger than 10 MB, or no JSON object.
    """
    return Facts(path, read_object(path, _MAX_BYTES))


def read_object(path: Path, most: int) -> dict[str, Any]:
    """A JSON object of at most `most` bytes. Raises ModelsError as `read_facts`."""
    value = _json(path, most)
    if not isinstance(value, dict):
        raise ModelsError(f"{path} is no JSON object.")
    return value


def read_list(path: Path) -> list[Facts]:
    """The objects of a JSON list. Raises ModelsError: it is missing, larger than 10 MB, or no list of objects."""
    value = _json(path, _MAX_BYTES)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ModelsError(f"{path} is no JSON list of objects.")
    return [Facts(path, each, f"{place}.") for place, each in enumerate(value)]


def _json(path: Path, most: int) -> Any:
    try:
        return json.loads(read_bounded(path, most))
    except FileNotFoundError:
        raise ModelsError(f"{path} is missing: {path.parent} needs it.") from None
    except OSError as error:
        raise ModelsError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ModelsError(f"{path} is no JSON: {error}.") from None
