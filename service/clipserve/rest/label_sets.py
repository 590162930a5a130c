"""The endpoints of label sets: parse, call, render. What a label set means is decided by `LabelSets`."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator
from itertools import islice
from typing import Any

from fastapi import FastAPI
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.inference import Inference
from clipserve.application.label_sets.definition import LabelFields, LabelSetFields
from clipserve.application.label_sets.request import PutRequest, check_name, put_request
from clipserve.application.limits import at_most
from clipserve.concurrency import SideThread
from clipserve.errors import InvalidInput
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.rendering import label_set_json, label_set_list_json, put_json
from clipserve.rest.uploads import MAX_FAULTS, Uploads, faults_of

_PATH = "/label-sets"
_ONE = _PATH + "/{name}"
_SHORT_SETS, _SHORT_LABELS = 64, 64  # rendered faster than a thread is woken, or nearly so


def add_label_sets(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    """Their routes."""
    label_sets = inference.label_sets

    @app.router.route(_PATH)
    async def listed(_: Request) -> Response:
        states = label_sets.all()
        return await side.call(label_set_list_json, states, short=len(states) <= _SHORT_SETS)

    @app.router.route(_ONE)
    async def shown(request: Request) -> Response:
        state = label_sets.get(request.path_params["name"])
        return await side.call(label_set_json, state, short=state.prompts <= _SHORT_LABELS)

    @app.router.route(_ONE, methods=["PUT"])
    async def kept(request: Request) -> Response:
        name = request.path_params["name"]
        check_name(name)

        def read(body: JsonObject) -> PutRequest:
            at_most("labels", len(_items(body.fields.get("labels"))), inference.limits.max_labels)
            return _read(request, name, body)

        state = await label_sets.put(await uploads.read_json(request, read))
        return await side.call(put_json, state, short=state.prompts <= _SHORT_LABELS)

    @app.router.route(_ONE, methods=["DELETE"])
    async def deleted(request: Request) -> Response:
        await label_sets.delete(request.path_params["name"])
        return Response(status_code=204)


def _read(request: Request, name: str, body: JsonObject) -> PutRequest:
    body.check_images(_encoded(body.fields.get("labels")))
    fields = _fields(body.fields)
    if not fields.expect_fingerprint:
        expected = request.headers.get("x-expect-fingerprint")
        fields = fields.model_copy(update={"expect_fingerprint": expected})
    return put_request(name, fields, functools.partial(decode_base64, None))


def _fields(said: dict[str, Any]) -> LabelSetFields:
    """Raises InvalidInput: one is missing, unknown or of the wrong type; names it."""
    faults = list(islice(_strange(said), MAX_FAULTS))
    if not faults:
        try:
            return LabelSetFields.model_validate(said, strict=True)
        except ValidationError as error:
            faults = faults_of(error)
    own, of_label = (", ".join(schema.model_fields) for schema in (LabelSetFields, LabelFields))
    raise InvalidInput(f"{'; '.join(faults)}. Known fields: {own}; of a label: {of_label}.")


def _strange(said: dict[str, Any]) -> Iterator[str]:
    """What a request can have wrong any number of times. Pydantic would build an error for each."""
    yield from _unknown("", said, LabelSetFields.model_fields)
    for position, label in enumerate(_items(said.get("labels"))):
        if isinstance(label, dict):
            yield from _unknown(f"labels.{position}.", label, LabelFields.model_fields)
        elif not isinstance(label, str):
            yield f"labels.{position}: must be a name or an object"


def _unknown(place: str, said: dict[str, Any], known: Container[str]) -> Iterator[str]:
    return (f"{place}{name[:64]}: no such field" for name in said if name not in known)


def _encoded(labels: object) -> list[str]:
    """Whatever stands where example images do."""
    return [
        text
        for label in _items(labels)
        if isinstance(label, dict)
        for text in _items(label.get("examples"))
        if isinstance(text, str)
    ]


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
