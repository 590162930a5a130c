"""Label sets as JSON. What a label set does not have is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.entry import LabelSet
from clipserve.clip.few_shot import LeaveOneOut
from clipserve.rest.rendering import json_response


def label_set_list_json(states: Sequence[LabelSet]) -> Response:
    return json_response({"label_sets": [_summary(state) for state in states]})


def label_set_json(state: LabelSet) -> Response:
    return json_response(_whole(state))


def put_json(state: LabelSet) -> Response:
    """200 if it is built, else 202."""
    if state.state == "ready":
        return label_set_json(state)
    headers = {"Retry-After": str(math.ceil(state.retry_after))}
    return json_response(_whole(state), HTTPStatus.ACCEPTED, headers)


def _summary(state: LabelSet) -> dict[str, Any]:
    shown = {
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
    return {name: value for name, value in shown.items() if value is not None}


def _whole(state: LabelSet) -> dict[str, Any]:
    definition = state.definition
    shown = definition.model_dump(exclude={"labels", "model", "expect_fingerprint"}, exclude_none=True)
    shown["labels"] = [label.model_dump(exclude_defaults=True) for label in definition.labels]
    if state.loo:
        shown["loo"] = _loo(state.loo, definition)
    lists = {"truncated_labels": state.truncated_labels, "warnings": state.warnings}
    return _summary(state) | shown | {name: values for name, values in lists.items() if values}


def _loo(loo: LeaveOneOut, definition: Definition) -> dict[str, Any]:
    names = definition.names
    misread = [
        {"label": names[each.label], "example": each.example, "taken_for": names[each.taken_for]}
        for each in loo.misread
    ]
    return {"accuracy": loo.accuracy, "examples": loo.examples, "misread": misread}
