"""Zero-shot image classification, as in Hugging Face's InferenceClient and Inference Endpoints."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, RootModel, WithJsonSchema
from starlette.responses import Response

from clipserve.api.answers import Classification, ImageLabels
from clipserve.api.fields import TEMPLATE, Labels
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import ClassifyRequest
from clipserve.rest.compat.items import listed
from clipserve.rest.compat.shared import TAGS, EncodedImage, ErrorAlone, JsonAnswer, chosen, shaped
from clipserve.rest.document import OF_FINGERPRINT, body_of, failures
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.validating import validated

router = APIRouter(tags=[*TAGS])

# The template of the pipeline in `transformers`, so that its users get the same scores.
_TEMPLATE = "This is a photo of {}."


class HuggingFaceParameters(BaseModel):
    """Other parameters are ignored."""

    model_config = ConfigDict(frozen=True)

    candidate_labels: Annotated[Labels, Field(json_schema_extra={"minItems": 1})]
    hypothesis_template: Annotated[
        Annotated[str, WithJsonSchema(TEMPLATE | {"maxLength": "$max_label_chars"})] | None,
        Field(description=f"a template with one or two slots {{}}; default: `{_TEMPLATE}`"),
    ] = None


class HuggingFaceRequest(BaseModel):
    model_config = ConfigDict(frozen=True)

    inputs: EncodedImage
    parameters: HuggingFaceParameters


class HuggingFaceLabel(JsonAnswer):
    label: str
    score: float


class HuggingFaceLabels(RootModel[list[HuggingFaceLabel]]):
    """Best label first."""


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> ClassifyRequest:
    parameters = body.fields.get("parameters")
    if isinstance(parameters, dict) and isinstance(labels := parameters.get("candidate_labels"), list):
        listed(labels, "parameters.candidate_labels")
    options = validated(HuggingFaceRequest, body.fields)
    body.check_images([options.inputs])
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
    response_model=HuggingFaceLabels,
    responses=failures("bad_prompt_template", images=True, error=ErrorAlone) | OF_FINGERPRINT,
    openapi_extra=body_of(
        HuggingFaceRequest, {"inputs": "$png", "parameters": {"candidate_labels": ["cat", "dog"]}}
    ),
)
async def hugging_face(
    request: Request,
    model: Annotated[str, Path(json_schema_extra={"enum": ["$models"]})],  # noqa: ARG001 - `_read` takes it
    asked: Annotated[ClassifyRequest, Depends(reading(parse_object, _read))],
) -> Response:
    service = service_of(request)
    return await service.rendered(_rendered, await service.inference.classify(asked))


def _rendered(scored: Classification) -> Response:
    (result,) = scored.results
    assert isinstance(result, ImageLabels)  # the error of the only image is the request's
    labels = [{"label": each.label, "score": each.score} for each in result.labels]
    return shaped(labels, scored)
