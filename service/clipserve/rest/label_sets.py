"""The endpoints of label sets: parse, call `LabelSets`, render."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.label_sets.definition import LabelFields, LabelSetFields
from clipserve.application.label_sets.entry import LabelSet
from clipserve.application.label_sets.request import put_request
from clipserve.application.limits import RequestLimits, at_most
from clipserve.application.shared import Question, Shared, is_short
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.questions import asking
from clipserve.rest.rendering import label_set_json, label_set_list_json, put_json
from clipserve.rest.uploads import expected, parse_object, unknown, validated

_PATH = "/label-sets"
_ONE = _PATH + "/{name}"


def add_label_sets(app: FastAPI, shared: Shared, max_json_bytes: int) -> None:
    """Add the routes of label sets."""
    label_sets, side = shared.inference.label_sets, shared.side
    app.router.add_route(_ONE, asking(shared, max_json_bytes, _put, parse_object), methods=["PUT"])

    @app.router.route(_PATH)
    async def listed(_: Request) -> Response:
        states = label_sets.all()
        return await side.call(label_set_list_json, states, short=is_short(states))

    @app.router.route(_ONE)
    async def shown(request: Request) -> Response:
        state = label_sets.get(request.path_params["name"])
        return await side.call(label_set_json, state, short=is_short(state))

    @app.router.route(_ONE, methods=["DELETE"])
    async def deleted(request: Request) -> Response:
        await label_sets.delete(request.path_params["name"])
        return Response(status_code=204)


def _put(request: Request, body: JsonObject, limits: RequestLimits) -> Question[LabelSet, Response]:
    at_most("labels", len(_items(body.fields.get("labels"))), limits.max_labels)
    body.check_images(_encoded(body.fields))
    own, of_label = (", ".join(schema.model_fields) for schema in (LabelSetFields, LabelFields))
    hint = f" Known fields: {own}; of a label: {of_label}."
    fields = validated(body.fields, LabelSetFields, _strange(body.fields), hint)
    fingerprint = expected(request, fields.expect_fingerprint)
    fields = fields.model_copy(update={"expect_fingerprint": fingerprint})
    asked = put_request(request.path_params["name"], fields, functools.partial(decode_base64, None))
    return Question(lambda of: of.label_sets.put(asked), put_json)


def _strange(said: dict[str, Any]) -> Iterator[str]:
    """What a request can have wrong any number of times. Pydantic would build an error for each."""
    yield from unknown("", said, LabelSetFields.model_fields)
    for position, label in enumerate(_items(said.get("labels"))):
        if isinstance(label, dict):
            yield from unknown(f"labels.{position}.", label, LabelFields.model_fields)
        elif not isinstance(label, str):
            yield f"labels.{position}: must be a name or an object"


def _encoded(said: dict[str, Any]) -> list[str]:
    """Whatever stands where weights and example images do."""
    labels = [label for label in _items(said.get("labels")) if isinstance(label, dict)]
    examples = [each for label in labels for each in _items(label.get("examples"))]
    return [each for each in (said.get("weights"), *examples) if isinstance(each, str)]


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
