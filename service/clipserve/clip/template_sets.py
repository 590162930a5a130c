"""The template sets: named lists of prompt templates, read from `template_sets.json` beside this file.

The file has the origin of the texts, and their licence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from clipserve.errors import UnknownTemplateSet

_FILE = Path(__file__).with_name("template_sets.json")


@dataclass(frozen=True)
class TemplateSet:
    """`class_names`: those of the data set that the templates were written for, in its order; may be empty.
    `source`: where the text was published.
    """

    name: str
    templates: tuple[str, ...]
    class_names: tuple[str, ...]
    source: str


def _read() -> Mapping[str, TemplateSet]:
    described = json.loads(_FILE.read_text("utf-8"))["sets"]
    sets = (
        TemplateSet(
            each["name"], tuple(each["templates"]), tuple(each.get("class_names", ())), each["source"]
        )
        for each in described
    )
    return MappingProxyType({each.name: each for each in sets})


# By name, general sets first. Read at the start, in less than a millisecond, so that a missing file does not fail a
# request.
TEMPLATE_SETS = _read()


def template_set(name: str) -> TemplateSet:
    """Raises UnknownTemplateSet: there is none of this name."""
    if name not in TEMPLATE_SETS:
        raise UnknownTemplateSet(f"there is no such template set. There are: {', '.join(TEMPLATE_SETS)}.")
    return TEMPLATE_SETS[name]
