"""What /openapi.json says of label sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipserve import errors
from clipserve.application.label_sets.fields import LabelSetFields
from clipserve.application.label_sets.request import NAME
from clipserve.application.limits import MAX_TEMPERATURE, MIN_TEMPERATURE, RequestLimits
from clipserve.rest.classify_schemas import ANY_LABEL, TEMPLATE, TOO_MANY_SLOTS
from clipserve.rest.documented import (
    EXPECT_FINGERPRINT,
    KEYED,
    RETRY_IF_KNOWN,
    Arguments,
    all_but,
    failures,
    operation,
    refer,
    success,
)
from clipserve.rest.examples import LABEL_SET, LABEL_SET_PUT, LABEL_SETS
from clipserve.rest.label_sets_schemas import LabelSet, LabelSetList

_NAMED = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "of the label set",
    "schema": {"type": "string", "pattern": f"^{NAME.pattern}$"},
}
_IMAGE = {
    "type": "string",
    # JSON Schema has no format for "base64 or a data URI"; a name that it does not know is for readers only.
    "format": "image",
    "description": "an image as base64 or as a data URI; URLs are not fetched",
}
_THRESHOLD = {"minimum": -1, "maximum": 1}

LISTED = operation("list_label_sets", LabelSetList, LABEL_SETS, [*KEYED, errors.StoreUnavailable])
SHOWN = operation(
    "get_label_set", LabelSet, LABEL_SET, [*KEYED, errors.UnknownLabelSet, errors.StoreUnavailable]
) | {"openapi_extra": {"parameters": [_NAMED]}}
DELETED: Arguments = {
    "operation_id": "delete_label_set",
    "status_code": 204,
    "responses": {204: {"description": "It is gone.", "headers": refer("Server-Timing")}}
    | failures([*KEYED, errors.UnknownLabelSet, errors.LabelSetReadOnly, errors.StoreUnavailable]),
    "openapi_extra": {"parameters": [_NAMED]},
}


def put(limits: RequestLimits, models: Sequence[str]) -> Arguments:
    """Of the operation that makes or replaces one. `models`: the names of those served."""
    raised = all_but(
        errors.UnknownLabelSet, errors.LabelSetNotReady, errors.LabelSetFailed, errors.UnknownTemplateSet
    )
    described = operation("put_label_set", LabelSet, LABEL_SET, raised)
    building = LABEL_SET | {"state": "building", "prompts_done": 1}
    del building["served_version"]
    later = success(building)
    later["headers"] |= RETRY_IF_KNOWN
    description = "It is kept, and is not built yet: ask again."
    described["responses"][202] = later | {"model": LabelSet, "description": description}
    content = {"application/json": {"schema": _schema(limits, models), "example": LABEL_SET_PUT}}
    body = {"required": True, "content": content}
    return described | {
        "openapi_extra": {"parameters": [_NAMED, EXPECT_FINGERPRINT], "requestBody": body},
    }


def _schema(limits: RequestLimits, models: Sequence[str]) -> dict[str, Any]:
    """The fields, and as much of what the core checks as JSON Schema can say."""
    schema = LabelSetFields.model_json_schema()
    (label,) = schema.pop("$defs").values()
    name = ANY_LABEL | {"maxLength": limits.max_label_chars}
    prompt = ANY_LABEL | {"maxLength": limits.max_prompt_chars, "not": TOO_MANY_SLOTS}
    label["properties"]["label"] |= name
    label["properties"]["prompts"] |= {
        "maxItems": limits.max_templates,
        "uniqueItems": True,
        "items": prompt,
    }
    label["properties"]["examples"] |= {"items": _IMAGE}
    label["properties"]["threshold"]["anyOf"][0] |= _THRESHOLD
    own = schema["properties"]
    own["labels"]["items"] = {"anyOf": [name, label]}
    own["labels"] |= {"minItems": 1, "maxItems": limits.max_labels}
    own["model"]["anyOf"] = [{"type": "string", "enum": [*models]}, {"type": "null"}]
    template = TEMPLATE | {"maxLength": limits.max_label_chars}
    own["templates"] |= {"maxItems": limits.max_templates, "uniqueItems": True, "items": template}
    own["background"] |= {"maxItems": limits.max_labels, "uniqueItems": True, "items": name}
    own["temperature"]["anyOf"][0] |= {"minimum": MIN_TEMPERATURE, "maximum": MAX_TEMPERATURE}
    own["threshold"]["anyOf"][0] |= _THRESHOLD
    own["example_weight"] |= {"minimum": 0, "maximum": 1}
    return schema
