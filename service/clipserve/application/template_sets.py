"""The template sets as every front lists them. They are the same for all models."""

from __future__ import annotations

from collections.abc import Sequence

from clipserve.clip.template_sets import TEMPLATE_SETS, TemplateSet
from clipserve.errors import UnknownTemplateSet


def template_sets() -> Sequence[TemplateSet]:
    """All of them, the general ones first, then by name."""
    return tuple(TEMPLATE_SETS.values())


def template_set(name: str) -> TemplateSet:
    """The one of this name.

    Raises:
        UnknownTemplateSet: there is none.
    """
    if name not in TEMPLATE_SETS:
        raise UnknownTemplateSet(f"there is no such template set. There are: {', '.join(TEMPLATE_SETS)}.")
    return TEMPLATE_SETS[name]
