"""The catalog: names for weights, and facts that open_clip does not have, such as their licence."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from clipserve_models.errors import ModelsError

CATALOG = Path(__file__).with_name("catalog.toml")
RANDOM = "-random"  # suffix of a model's name: the same model with random weights


class Entry(BaseModel):
    """One set of weights; the artifact that is made from it has the same `name`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    model: str
    pretrained: str
    licence: str
    about: str = ""
    repository: str  # of the hub


def read_catalog(path: Path = CATALOG) -> dict[str, Entry]:
    """The entries by name, in the order of the file."""
    tables = tomllib.loads(path.read_text("utf-8"))
    return {name: Entry(name=name, **table) for name, table in tables.items()}


def base_of(name: str, random_weights: bool = False) -> tuple[str, bool]:
    """The name of a model without `RANDOM`, and whether its weights are random."""
    return name.removesuffix(RANDOM), random_weights or name.endswith(RANDOM)


def unknown(name: str, others: Iterable[str] = ()) -> ModelsError:
    """The error of a name that neither the catalog nor `others` have; it suggests similar ones."""
    right = {each.lower(): each for each in (*read_catalog(), *others)}
    close = difflib.get_close_matches(name.lower(), right, n=4, cutoff=0.5)
    said = "Similar names" if close else "Some of those that there are"
    names = ", ".join(right[each] for each in close or sorted(right)[:8])
    return ModelsError(
        f"no model named {name!r}. {said}: {names}. See `clipserve models list`; any other model is named by its "
        "repository on the hub, ORG/NAME."
    )
