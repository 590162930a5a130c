"""The handlers of label sets."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from clipserve.api import sets
from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.api.limits import RequestLimits, at_most
from clipserve.application.body import Body
from clipserve.application.label_sets.request import PutRequest, put_request
from clipserve.rest import examples
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.rendering import label_set_json, label_set_list_json, put_json
from clipserve.rest.request import Request
from clipserve.rest.uploads import expected, parse_object, unknown, validated

_NAME = {"$ref": "#/components/parameters/LabelSetName"}


async def list_label_sets(front: Front, _: Request, __: Body) -> Response:
    return await front.rendered(label_set_list_json, front.inference.label_sets.all())


async def get_label_set(front: Front, request: Request, _: Body) -> Response:
    return await front.rendered(label_set_json, front.inference.label_sets.get(request.names["name"]))


async def put_label_set(front: Front, request: Request, body: Body) -> Response:
    asked = await front.parsed(parse_object, _put, request, body)
    return await front.rendered(put_json, await front.inference.label_sets.put(asked))


async def delete_label_set(front: Front, request: Request, _: Body) -> Response:
    await front.inference.label_sets.delete(request.names["name"])
    return Response(status_code=204)


def _put(body: JsonObject, request: Request, limits: RequestLimits) -> PutRequest:
    at_most("labels", len(_items(body.fields.get("labels"))), limits.max_labels)
    body.check_images(_encoded(body.fields))
    of_set, of_label = (", ".join(schema.model_fields) for schema in (LabelSetFields, LabelFields))
    hint = f" Known fields: {of_set}; of a label: {of_label}."
    fields = validated(LabelSetFields.model_validate, body.fields, _strange(body.fields), hint)
    fingerprint = fields.expect_fingerprint or expected(request)
    fields = fields.model_copy(update={"expect_fingerprint": fingerprint})
    return put_request(request.names["name"], fields, functools.partial(decode_base64, None))


def _strange(fields: dict[str, Any]) -> Iterator[str]:
    """What a request can have wrong any number of times. Pydantic would build an error for each."""
    yield from unknown("", fields, LabelSetFields.model_fields)
    for position, label in enumerate(_items(fields.get("labels"))):
        if isinstance(label, dict):
            yield from unknown(f"labels.{position}.", label, LabelFields.model_fields)
        elif not isinstance(label, str):
            yield f"labels.{position}: must be a name or an object"


def _encoded(fields: dict[str, Any]) -> list[str]:
    """Whatever stands where weights and example images do."""
    labels = [label for label in _items(fields.get("labels")) if isinstance(label, dict)]
    examples = [example for label in labels for example in _items(label.get("examples"))]
    return [text for text in (fields.get("weights"), *examples) if isinstance(text, str)]


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


OPERATIONS = [
    Operation(
        "GET /label-sets",
        list_label_sets,
        "List all label sets.",
        Answered("All label sets.", sets.LabelSetListJson, {"label_sets": [examples.LISTED_LABEL_SET]}),
        errors=["store_unavailable"],
        tag="label sets",
    ),
    Operation(
        "GET /label-sets/{name}",
        get_label_set,
        "Return one label set: its labels, its scoring, and the progress of its build.",
        Answered("The label set.", sets.LabelSetJson, examples.LABEL_SET),
        parameters=[_NAME],
        errors=["unknown_label_set", "store_unavailable"],
        tag="label sets",
    ),
    Operation(
        "PUT /label-sets/{name}",
        put_label_set,
        "Create or replace a label set. The former version is served until the new one is built.",
        {
            200: Answered("It is built.", sets.LabelSetJson, examples.LABEL_SET),
            202: Answered(
                "It is stored but not built yet: ask again.",
                sets.LabelSetJson,
                examples.BUILDING_LABEL_SET,
                headers=["Retry-After-If-Known"],
            ),
        },
        description="The answer is 200 once it is built, or 202 if the build takes longer than two seconds.",
        parameters=[_NAME],
        kind=LabelSetFields,
        example=examples.NEW_LABEL_SET,
        errors=["bad_prompt_template", "label_set_read_only", "store_unavailable"],
        tag="label sets",
    ),
    Operation(
        "DELETE /label-sets/{name}",
        delete_label_set,
        "Delete a label set with its examples and embeddings.",
        {204: Answered("It is deleted.")},
        parameters=[_NAME],
        errors=["unknown_label_set", "label_set_read_only", "store_unavailable"],
        tag="label sets",
    ),
]
