"""Zero-shot image classification, as in Hugging Face's InferenceClient and Inference Endpoints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import Classification
from clipserve.application.limits import RequestLimits
from clipserve.application.requests import ClassifyRequest
from clipserve.application.shared import Question
from clipserve.errors import ClipError
from clipserve.rest.compat.items import chosen, listed, shaped
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.uploads import validated

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


def read(request: Request, body: JsonObject, limits: RequestLimits) -> Question[Classification, Response]:
    parameters = body.fields.get("parameters")
    if isinstance(parameters, dict) and isinstance(labels := parameters.get("candidate_labels"), list):
        listed(labels, "parameters.candidate_labels")
    said = validated(body.fields, _Options)
    body.check_images([said.inputs])
    template = said.parameters.hypothesis_template
    asked = ClassifyRequest(
        [decode_base64(0, said.inputs)],
        said.parameters.candidate_labels,
        [_TEMPLATE if template is None else template],
        **chosen(request, request.path_params["model"]),
    ).check(limits)
    return Question(lambda of: of.classify(asked), _rendered)


def _rendered(scored: Classification) -> Response:
    (result,) = scored.results
    if isinstance(result, ClipError):  # the only one of its request: `Inference.classify` has raised it
        raise result
    labels = [{"label": each.label, "score": each.score} for each in result[0]]
    return shaped(labels, scored)
