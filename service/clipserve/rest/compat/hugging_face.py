"""Zero-shot image classification, as in Hugging Face's InferenceClient and Inference Endpoints."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, WithJsonSchema
from starlette.responses import Response

from clipserve.api.answers import JsonAnswer
from clipserve.api.fields import Labels
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import ClassifyRequest
from clipserve.application.answers import Classification
from clipserve.application.body import Body
from clipserve.errors import ClipError
from clipserve.rest.compat.items import listed
from clipserve.rest.compat.shared import OF_FINGERPRINT, EncodedImage, ErrorAlone, chosen, shaped
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.request import Request
from clipserve.rest.schemas import named
from clipserve.rest.uploads import parse_object, validated

# The template of the pipeline in `transformers`, so that its users get the same scores.
Template = Annotated[str, WithJsonSchema(named("Template"))]
_TEMPLATE = "This is a photo of {}."


class HuggingFaceParameters(BaseModel):
    """Other parameters are ignored."""

    model_config = ConfigDict(frozen=True)

    candidate_labels: Annotated[Labels, Field(json_schema_extra={"minItems": 1})]
    hypothesis_template: Annotated[
        Template | None, Field(description=f"a template with one or two slots {{}}; default: `{_TEMPLATE}`")
    ] = None


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True)

    inputs: EncodedImage
    parameters: HuggingFaceParameters


class HuggingFaceLabel(JsonAnswer):
    label: str
    score: float


class HuggingFaceLabels(RootModel[list[HuggingFaceLabel]]):
    """Best label first."""


async def hugging_face(front: Front, request: Request, body: Body) -> Response:
    asked = await front.parsed(parse_object, _read, request, body)
    answer = await front.inference.classify(asked)
    return await front.rendered(_rendered, answer)


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> ClassifyRequest:
    parameters = body.fields.get("parameters")
    if isinstance(parameters, dict) and isinstance(labels := parameters.get("candidate_labels"), list):
        listed(labels, "parameters.candidate_labels")
    options = validated(_Options.model_validate, body.fields)
    body.check_images([options.inputs])
    template = options.parameters.hypothesis_template
    return ClassifyRequest(
        [decode_base64(0, options.inputs)],
        options.parameters.candidate_labels,
        [_TEMPLATE if template is None else template],
        **chosen(request, request.names["model"]),
    ).check(limits)


def _rendered(scored: Classification) -> Response:
    (result,) = scored.results
    if isinstance(result, ClipError):  # the only one of its request: `Inference.classify` has raised it
        raise result
    labels = [{"label": each.label, "score": each.score} for each in result[0]]
    return shaped(labels, scored)


OPERATIONS = [
    Operation(
        "POST /models/{model}",
        hugging_face,
        "Score the labels of one image, best first, as Hugging Face's clients expect.",
        Answered(
            "Labels.",
            HuggingFaceLabels,
            [{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}],
            OF_FINGERPRINT,
        ),
        kind=_Options,
        examples={"labels": {"inputs": "$png", "parameters": {"candidate_labels": ["cat", "dog"]}}},
        parameters=[
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "enum": "$models"}}
        ],
        errors=["bad_prompt_template"],
        error=ErrorAlone,
    )
]
