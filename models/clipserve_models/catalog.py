"""The catalog: names for weights, and facts that open_clip does not have, such as their licence."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from clipserve_models.errors import ModelsError

CATALOG = Path(__file__).with_name("catalog.toml")
RANDOM = "-random"  # suffix of a model's name: the same model with random weights
UNKNOWN_LICENCE = "unknown: read the card of the weights"


class Entry(BaseModel):
    """One set of weights; the artifact that is made from it has the same `name`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    model: str
    pretrained: str | None
    licence: str
    about: str = ""
    repository: str | None = None  # of the hub
    revision: str | None = None  # its commit
    digest: str | None = None  # SHA-256 of the weights there


def read_catalog(path: Path = CATALOG) -> dict[str, Entry]:
    """The entries by name, in the order of the file."""
    tables = tomllib.loads(path.read_text("utf-8"))
    return {name: Entry(name=name, **table) for name, table in tables.items()}


def base_of(name: str, random_weights: bool = False) -> tuple[str, bool]:
    """The name of a model without `RANDOM`, and whether its weights are random."""
    return name.removesuffix(RANDOM), random_weights or name.endswith(RANDOM)


def resolve(
    name: str,
    pretrained: str | None,
    catalog: Mapping[str, Entry],
    tags: Mapping[str, Iterable[str]],  # open_clip's models -> the tags of their weights
) -> Entry:
    """The entry that `export NAME --pretrained TAG` names. "ViT-B/32" means "ViT-B-32".

    Raises:
        ModelsError: neither the catalog nor open_clip has this name or this tag; the message suggests similar ones.
    """
    name = name.replace("/", "-")
    entry = catalog.get(name)
    if entry and pretrained in (None, entry.pretrained):
        return entry
    model = entry.model if entry else name
    if model not in tags:
        raise ModelsError(_unknown("model", name, [*catalog, *tags]) + " See `clipserve models list`.")
    if pretrained is None:
        return Entry(name=model, model=model, pretrained=None, licence=UNKNOWN_LICENCE)
    if pretrained not in tags[model]:
        raise ModelsError(_unknown(f"weights of {model}", pretrained, tags[model]))
    for known in catalog.values():
        if (known.model, known.pretrained) == (model, pretrained):
            return known
    return Entry(name=f"{model}-{pretrained}", model=model, pretrained=pretrained, licence=UNKNOWN_LICENCE)


def _unknown(kind: str, wrong: str, known: Iterable[str]) -> str:
    right = {name.lower(): name for name in known}
    close = difflib.get_close_matches(wrong.lower(), right, n=4, cutoff=0.5)
    said = "Similar names" if close else "Some of those that there are"
    return (
        f"no {kind} named {wrong!r}. {said}: {', '.join(right[name] for name in close or sorted(right)[:8])}."
    )
