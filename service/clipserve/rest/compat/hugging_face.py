"""Zero-shot image classification, as in Hugging Face's InferenceClient and Inference Endpoints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from clipserve.api.limits import RequestLimits
from clipserve.api.requests import ClassifyRequest
from clipserve.application.answers import Classification
from clipserve.application.body import Body
from clipserve.errors import ClipError
from clipserve.rest.compat.items import chosen, listed, shaped
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.request import Request
from clipserve.rest.uploads import parse_object, validated

# The template of the pipeline in `transformers`, so that its users get the same scores.
_TEMPLATE = "This is a photo of {}."


class _Parameters(BaseModel):
    """Other parameters are ignored."""

    model_config = ConfigDict(frozen=True)

    candidate_labels: list[str]
    hypothesis_template: str | None = None


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True)

    inputs: str
    parameters: _Parameters


async def classify(front: Front, request: Request, body: Body) -> Response:
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
