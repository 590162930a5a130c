"""Data sets with a published figure, and how it is compared with a measured one."""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from clipserve_models.catalog import read_catalog
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.figures import Figures

_PRESETS = Path(__file__).with_name("presets.toml")
_PUBLISHED = Path(__file__).with_name("published.csv")
_SOURCE = "open_clip's results table"
_WITHIN = 0.003  # counts as equal: decoders, precision and the order of additions change a few answers


class Preset(BaseModel):
    """One set; presets.toml says what the fields are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    figure: str
    images: int
    classes: int = 0
    templates: str | None = None
    names: str | None = None
    sha256: str | None = None
    note: str = ""


def read_presets() -> dict[str, Preset]:
    """By name, in the order of the file."""
    tables = tomllib.loads(_PRESETS.read_text("utf-8"))
    return {name: Preset(name=name, **table) for name, table in tables.items()}


def preset_of(name: str) -> Preset:
    """Raises ModelsError: there is none of this name."""
    presets = read_presets()
    if name not in presets:
        raise ModelsError(f"there is no preset {name!r}. There are: {', '.join(presets)}.")
    return presets[name]


def published(preset: str, model: str) -> float | None:
    """The figure of a model of the catalog, or of the model that a variant was made of; None: there is none."""
    entry = read_catalog().get(model.partition("@")[0])
    with _PUBLISHED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if entry and (row["model"], row["pretrained"]) == (entry.model, entry.pretrained):
                return float(row[preset])
    return None


def compared(
    preset: Preset, model: str, figures: Figures, names: Sequence[str] = (), templates: Sequence[str] = ()
) -> Figures:
    """What is expected, and why it may not be the same set. Shares are 0..1, as in `figures`.

    `names`: of the classes that were asked; `templates`: that were asked.
    """
    expected, measured = published(preset.name, model), figures.get(preset.figure)
    told: dict[str, Any] = {
        "preset": preset.name,
        "figure": preset.figure,
        "other_set": [*_differences(preset, figures, names, templates)],
        "expected": expected,
        "measured": measured,
        "source": _SOURCE,
        "note": preset.note,
    }
    if expected is not None and measured is not None:
        told["within"] = abs(measured - expected) <= _WITHIN + 1e-9
    return told


def _differences(
    preset: Preset, figures: Figures, names: Sequence[str], templates: Sequence[str]
) -> Iterator[str]:
    if preset.figure not in figures:
        yield f"it has no {preset.figure}"
    if figures["images"] != preset.images:
        yield f"it has {figures['images']:,} images, not {preset.images:,}"
    if not preset.classes:
        return
    if len(names) != preset.classes:
        yield f"{len(names):,} classes are asked, not {preset.classes:,}"
    elif preset.sha256 and hashlib.sha256("\n".join(names).encode()).hexdigest() != preset.sha256:
        yield "the classes have other names than open_clip gives them"
    if missing := figures.get("classes", 0) - figures.get("classes_that_occur", 0):
        yield f"{missing:,} of the classes have no image"
    if [*templates] != [preset.templates]:
        yield f"it is asked without the templates {preset.templates}"


def verdict(told: Figures) -> Iterator[str]:
    """The comparison in sentences: first what makes it void."""
    if told["other_set"]:
        yield f"**Not the set of the published figure**: {'; '.join(told['other_set'])}."
    expected, measured = told["expected"], told["measured"]
    if expected is None:
        yield f"For this model {told['source']} has no {told['figure']} of {told['preset']}."
    elif measured is not None:
        off = abs(measured - expected) * 100
        said = "within 0.3" if told["within"] else f"**off by {off:.2f}**, more than 0.3"
        figure, of = f"{expected * 100:.2f} ({told['figure']}, {told['source']})", measured * 100
        yield f"Expected {figure}, got {of:.2f}: {said}."
    if told["note"]:
        yield f"{told['preset']}: {told['note']}."
