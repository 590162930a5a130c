"""The answers about template sets and label sets, made of their states."""

from __future__ import annotations

from clipserve.api import sets
from clipserve.application.label_sets.served import LabelSet
from clipserve.clip.template_sets import TemplateSet


def listed_template_set(found: TemplateSet) -> sets.ListedTemplateSet:
    """Without the class names, which are five times as large as the rest."""
    return sets.ListedTemplateSet(found.name, [*found.templates], len(found.class_names), found.source)


def template_set(found: TemplateSet) -> sets.TemplateSet:
    return sets.TemplateSet(**vars(listed_template_set(found)), class_names=[*found.class_names])


def listed_label_set(state: LabelSet) -> sets.LabelSetSummary:
    return sets.LabelSetSummary(
        name=state.name,
        version=state.version,
        state=state.state,
        served_version=state.served_version,
        model=state.definition.model,
        fingerprint=state.fingerprint,
        label_count=len(state.definition.labels),
        prompts=state.prompts,
        prompts_done=state.done,
        error=state.error,
    )


def label_set(state: LabelSet) -> sets.LabelSet:
    """With its definition and the result of its build."""
    definition = state.definition
    return sets.LabelSet(
        **vars(listed_label_set(state)),
        templates=[*definition.templates],
        background=[*definition.background],
        truncate=definition.truncate,
        scoring=definition.scoring,
        temperature=definition.temperature,
        threshold=definition.threshold,
        example_weight=definition.example_weight,
        labels=[
            sets.SetLabel(each.label, each.id, tuple(each.prompts), tuple(each.examples), each.threshold)
            for each in definition.labels
        ],
    )
