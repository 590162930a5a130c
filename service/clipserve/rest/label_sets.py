"""The handlers of label sets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from clipserve.api import sets
from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.api.limits import RequestLimits, at_most
from clipserve.application.label_sets.definition import NAME, PutRequest
from clipserve.application.shared import rendered
from clipserve.rest.document import ERRORS, body_of
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.reading import expected, parse_object, reading, service_of
from clipserve.rest.rendering import label_set_json, label_set_list_json, put_json
from clipserve.rest.validating import validated

router = APIRouter(tags=["label sets"], responses=ERRORS)

Name = Annotated[
    str, Path(description="name of the label set", json_schema_extra={"pattern": f"^{NAME.pattern}$"})
]
_CAT = {"label": "cat", "id": "c1", "prompts": ["a small animal with whiskers"]}
_EXAMPLE = {"labels": ["dog", _CAT], "background": ["something else"], "threshold": 0.2}
_LATER = {"description": "seconds after which it may be built", "schema": {"type": "integer", "minimum": 1}}


@router.get(
    "/label-sets",
    summary="List all label sets.",
    response_model=sets.LabelSetList,
)
async def list_label_sets(request: Request) -> Response:
    return await rendered(label_set_list_json, service_of(request).inference.label_sets.all())


@router.get(
    "/label-sets/{name}",
    summary="Return one label set: its labels, its scoring, and the progress of its build.",
    response_model=sets.LabelSet,
)
async def get_label_set(request: Request, name: Name) -> Response:
    return await rendered(label_set_json, service_of(request).inference.label_sets.get(name))


def _put(sent: JsonObject, request: Request, limits: RequestLimits) -> PutRequest:
    if isinstance(labels := sent.get("labels"), list):
        at_most("labels", len(labels), limits.max_labels)
    fields = validated(LabelSetFields, sent)
    fingerprint = fields.expect_fingerprint or expected(request)
    fields = fields.model_copy(update={"expect_fingerprint": fingerprint})
    images = [
        [decode_base64(None, each) for each in label.examples] if isinstance(label, LabelFields) else []
        for label in fields.labels
    ]
    return PutRequest(request.path_params["name"], fields, images)


@router.put(
    "/label-sets/{name}",
    summary="Create or replace a label set. The former version is served until the new one is built.",
    description="The answer is 200 once it is built, or 202 if the build takes longer than two seconds.",
    response_model=sets.LabelSet,
    responses={
        202: {
            "model": sets.LabelSet,
            "description": "It is stored but not built yet: ask again.",
            "headers": {"Retry-After": _LATER},
        }
    },
    openapi_extra=body_of(LabelSetFields, _EXAMPLE),
)
async def put_label_set(
    request: Request,
    name: Name,  # noqa: ARG001 - `_put` takes it
    asked: Annotated[PutRequest, Depends(reading(parse_object, _put))],
) -> Response:
    return await rendered(put_json, await service_of(request).inference.label_sets.put(asked))


@router.delete(
    "/label-sets/{name}",
    summary="Delete a label set with its examples and embeddings.",
    status_code=204,
)
async def delete_label_set(request: Request, name: Name) -> Response:
    await service_of(request).inference.label_sets.delete(name)
    return Response(status_code=204)
