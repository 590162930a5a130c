"""Zero-shot image classification, as in Hugging Face's InferenceClient and Inference Endpoints."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from clipserve.api.answers import Classification, ImageLabels
from clipserve.api.fields import Labels
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import ClassifyRequest
from clipserve.application.shared import rendered
from clipserve.rest.compat.shared import adapter_router, chosen, example_of, shaped
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.validating import validated

router = adapter_router()

# The template of the pipeline in `transformers`, so that its users get the same scores.
_TEMPLATE = "This is a photo of {}."


class HuggingFaceParameters(BaseModel):
    """Other parameters are ignored."""

    candidate_labels: Labels
    hypothesis_template: str | None = None


class HuggingFaceRequest(BaseModel):
    inputs: str
    parameters: HuggingFaceParameters


def _read(fields: JsonObject, request: Request, limits: RequestLimits) -> ClassifyRequest:
    asked = validated(HuggingFaceRequest, fields)
    labels, template = asked.parameters.candidate_labels, asked.parameters.hypothesis_template or _TEMPLATE
    choice = chosen(request, request.path_params["model"])
    return ClassifyRequest([decode_base64(0, asked.inputs)], labels, [template], **choice).check(limits)


@router.post(
    "/models/{model}",
    summary="Score the labels of one image, best first, as Hugging Face's clients expect.",
    openapi_extra=example_of({"inputs": "$png", "parameters": {"candidate_labels": ["cat", "dog"]}}),
)
async def hugging_face(
    request: Request,
    model: str,  # noqa: ARG001 - `_read` takes it
    asked: Annotated[ClassifyRequest, Depends(reading(parse_object, _read))],
) -> Response:
    return await rendered(_rendered, await service_of(request).inference.classify(asked))


def _rendered(scored: Classification) -> Response:
    (result,) = scored.results
    assert isinstance(result, ImageLabels)  # the error of the only image is the request's
    labels = [{"label": each.label, "score": each.score} for each in result.labels]
    return shaped(labels, scored)
