"""Zero-shot image classification, as in Hugging Face's InferenceClient and Inference Endpoints."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from clipserve.api.answers import Classification, ImageLabels
from clipserve.api.fields import Labels
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import ClassifyRequest
from clipserve.rest.compat.items import listed
from clipserve.rest.compat.shared import adapter_router, chosen, example_of, shaped
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.validating import validated

router = adapter_router()


# The template of the pipeline in `transformers`, so that its users get the same scores.
_TEMPLATE = "This is a photo of {}."


class HuggingFaceParameters(BaseModel):
    """Other parameters are ignored."""

    model_config = ConfigDict(frozen=True)

    candidate_labels: Labels
    hypothesis_template: str | None = None


class HuggingFaceRequest(BaseModel):
    model_config = ConfigDict(frozen=True)

    inputs: str
    parameters: HuggingFaceParameters


def _read(fields: JsonObject, request: Request, limits: RequestLimits) -> ClassifyRequest:
    parameters = fields.get("parameters")
    if isinstance(parameters, dict) and isinstance(labels := parameters.get("candidate_labels"), list):
        listed(labels, "parameters.candidate_labels")
    options = validated(HuggingFaceRequest, fields)
    template = options.parameters.hypothesis_template
    return ClassifyRequest(
        [decode_base64(0, options.inputs)],
        options.parameters.candidate_labels,
        [_TEMPLATE if template is None else template],
        **chosen(request, request.path_params["model"]),
    ).check(limits)


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
    service = service_of(request)
    return await service.rendered(_rendered, await service.inference.classify(asked))


def _rendered(scored: Classification) -> Response:
    (result,) = scored.results
    assert isinstance(result, ImageLabels)  # the error of the only image is the request's
    labels = [{"label": each.label, "score": each.score} for each in result.labels]
    return shaped(labels, scored)
