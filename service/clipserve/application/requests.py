"""The checks of a request that need the model or its images."""

from __future__ import annotations

from collections.abc import Sequence

from clipserve.api.limits import RequestLimits, at_most, each_at_most, prompts_at_most
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import expand
from clipserve.errors import InvalidInput


def expanded_templates(
    templates: Sequence[str], labels: Sequence[str], manifest: ModelManifest, limits: RequestLimits
) -> tuple[str, ...]:
    """The templates, with names of template sets replaced by their templates; if there are none, the model's own.

    It also checks the limits of the prompts that these make of `labels`.

    Raises:
        BadPromptTemplate: a template without a slot is not a set's name, one has too many slots, or is a duplicate.
        TooMany, TextTooLong: a limit is exceeded.
    """
    at_most("templates", len(templates), limits.max_templates)
    each_at_most("template", templates, limits.max_label_chars)
    expanded = expand(templates or manifest.prompt_templates)
    at_most("templates", len(expanded), limits.max_templates)
    if labels:
        prompts_at_most(labels, expanded, limits)
    return expanded


def check_dimensions(dimensions: int, manifest: ModelManifest) -> None:
    """Raises InvalidInput: the model's vectors have another number of dimensions."""
    if dimensions != manifest.embed_dim:
        raise InvalidInput(
            f"dimensions is {dimensions}; the vectors of {manifest.name} have {manifest.embed_dim}, and "
            "cannot be cut: only models that are trained for it (Matryoshka) keep their meaning in the first "
            f"dimensions. Leave dimensions out, or ask for {manifest.embed_dim}.",
            limit=manifest.embed_dim,
            actual=dimensions,
        )
