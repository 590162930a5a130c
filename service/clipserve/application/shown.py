"""The fields of answers. JSON and gRPC's messages use the same names."""

from __future__ import annotations

import hashlib
from typing import Any

from clipserve.application.answers import Classification, Embedding, ModelState, Similarities, Tokenization
from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.served import LabelSet
from clipserve.clip.few_shot import LeaveOneOut
from clipserve.clip.template_sets import TemplateSet

_SHOWN_OTHERWISE = {"labels", "model", "expect_fingerprint", "weights", "biases"}


def heading(answer: Classification | Embedding | Similarities | Tokenization) -> dict[str, Any]:
    """The fields that name the model of an answer."""
    return {"model": answer.model, "fingerprint": answer.fingerprint}


def model_fields(state: ModelState) -> dict[str, Any]:
    manifest = state.manifest
    return {
        "id": manifest.name,
        "ready": state.ready,
        "fingerprint": state.fingerprint,
        "embed_dim": manifest.embed_dim,
        "image_size": manifest.image.size,
        "context_length": manifest.text.context_length,
        "scoring": manifest.scoring.function,
        "logit_scale": manifest.scoring.logit_scale,
        "logit_bias": manifest.scoring.logit_bias,
        "prompt_templates": manifest.prompt_templates,
        "precision": manifest.precision,
        "checkpoint": manifest.source.checkpoint,
        "licence": manifest.source.licence,
        "random_weights": manifest.source.random_weights,
    }


def template_set_fields(found: TemplateSet, *, whole: bool) -> dict[str, Any]:
    """The fields of a template set. `whole`: with the class names, which are five times as large as the rest."""
    shown = {
        "name": found.name,
        "templates": found.templates,
        "classes": len(found.class_names),
        "source": found.source,
    }
    return shown | {"class_names": found.class_names} if whole else shown


def label_set_fields(state: LabelSet, *, whole: bool) -> dict[str, Any]:
    """The fields of a label set that have a value. `whole`: with its definition and the result of its build."""
    shown: dict[str, Any] = {
        "name": state.name,
        "version": state.version,
        "state": state.state,
        "served_version": state.served_version,
        "model": state.definition.model,
        "fingerprint": state.fingerprint,
        "label_count": len(state.definition.labels),
        "prompts": state.prompts,
        "prompts_done": state.prompts_done,
        "read_only": state.read_only,
        "error": state.error,
    }
    if whole:
        definition, built = state.definition, state.built
        shown |= definition.model_dump(exclude=_SHOWN_OTHERWISE)
        shown["labels"] = [label.model_dump(exclude_defaults=True) for label in definition.labels]
        shown["weights"] = _weights(definition) if definition.weights else None
        shown["loo"] = _loo(built.loo, definition) if built and built.loo else None
        shown["truncated_labels"] = (built and built.truncated) or None
        shown["warnings"] = definition.warnings or None
    return {name: value for name, value in shown.items() if value is not None}


def _weights(definition: Definition) -> dict[str, Any]:
    """What trained weights are, in place of megabytes of them."""
    weights = definition.matrix
    return {
        "dim": weights.shape[1],
        "sha256": hashlib.sha256(weights.data).hexdigest(),
        "fingerprint": definition.expect_fingerprint,
    }


def _loo(loo: LeaveOneOut, definition: Definition) -> dict[str, Any]:
    names = definition.names
    misread = [
        {"label": names[each.label], "example": each.example, "taken_for": names[each.taken_for]}
        for each in loo.misread
    ]
    return {"accuracy": loo.accuracy, "examples": loo.examples, "misread": misread}
