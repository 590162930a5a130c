"""The operations of the service's own API: their handlers, and what /openapi.json tells of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from fastapi import FastAPI

from clipserve.api import answers, sets
from clipserve.api.limits import marks_of
from clipserve.api.requests import (
    ClassifyRequest,
    EmbedRequest,
    SimilarityRequest,
    TokenizeRequest,
    VectorOptions,
)
from clipserve.rest import examples, handlers, label_sets
from clipserve.rest.front import Front
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.rendering import NPY
from clipserve.rest.uploads import reader_of

_INPUTS, _TEMPLATE_SETS, _OPERATIONS = "images and texts", "template sets", "operations"

OPERATIONS = [
    Operation(
        "POST /classify",
        handlers.classify,
        "Score labels by how well they fit each image, best label first.",
        Answered("Scores.", answers.ClassificationJson, examples.SCORES),
        kind=ClassifyRequest,
        example={"images": ["$png"], "labels": ["cat", "dog"]},
        form=True,
        beside_image="labels=cat&labels=dog",
        errors=[
            "bad_prompt_template",
            "unknown_label_set",
            "label_set_not_ready",
            "label_set_failed",
            "store_unavailable",
        ],
        tag=_INPUTS,
    ),
    Operation(
        "POST /embed",
        handlers.embed,
        "Return vectors of images and texts, of unit length, in one space.",
        Answered(
            "Vectors.",
            answers.EmbeddingsJson,
            examples.VECTORS,
            headers=["X-Model-Fingerprint"],
            others={
                NPY: {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": "one array in NumPy's file format: [N, D] of float32, float16 or int8, "
                        "or [N, D / 8] of bits, as `embedding_type` says",
                    }
                }
            },
        ),
        description=f"With `Accept: {NPY}` the answer is one array in NumPy's file format, not JSON.",
        kind=EmbedRequest,
        example={"images": ["$png"], "texts": ["a photo of a cat"]},
        form=True,
        beside_image="text=a+cat&encoding_format=base64",
        tag=_INPUTS,
    ),
    Operation(
        "POST /bulk",
        None,
        "Return a vector for each line, an image or a text, while lines arrive. Other requests have priority.",
        Answered(
            "One line for each line of the request.",
            others={
                "application/x-ndjson": {
                    "schema": {
                        "type": "string",
                        "description": "lines of JSON, each with the `index` of its line from 0, its `id`, and "
                        "the fields of a result of POST /embed",
                    },
                    "example": examples.ANSWERED_LINES,
                }
            },
        ),
        description="The fields go into the query. A client that sends all lines before it reads answers must send "
        "only a few thousand: answers that nobody reads stop the request.",
        query=VectorOptions,
        body={
            "application/x-ndjson": {
                "schema": {
                    "type": "string",
                    "description": "lines of JSON, each with `image` or `text`, and optionally `id`",
                },
                "example": examples.LINES,
            }
        },
        tag=_INPUTS,
        id="bulk",
    ),
    Operation(
        "POST /similarity",
        handlers.similarity,
        "Compare each of some images and texts with each of others: the cosine and the model's logit of each pair.",
        Answered("Cosines and logits.", answers.SimilaritiesJson, examples.SIMILARITIES),
        kind=SimilarityRequest,
        example={"images": ["$png"], "to_texts": ["a photo of a cat", "a photo of a dog"]},
        form=True,
        beside_image="to_text=a+cat&to_text=a+dog",
        tag=_INPUTS,
    ),
    Operation(
        "POST /tokenize",
        handlers.tokenize,
        "Return the tokens of texts, and whether a text would be cut.",
        Answered("Tokens.", answers.TokenizationJson, examples.TOKENS),
        kind=TokenizeRequest,
        example={"texts": ["a photo of a cat"]},
        form=True,
        images=False,
        tag=_INPUTS,
    ),
    *label_sets.OPERATIONS,
    Operation(
        "GET /template-sets",
        handlers.list_template_sets,
        "List the template sets. Most were published for a data set.",
        Answered("All template sets.", sets.TemplateSetListJson, {"template_sets": [examples.TEMPLATE_SET]}),
        tag=_TEMPLATE_SETS,
        id="template_sets",
    ),
    Operation(
        "GET /template-sets/{name}",
        handlers.get_template_set,
        "Return one template set, with the class names of its data set.",
        Answered(
            "The template set.",
            sets.TemplateSetJson,
            examples.TEMPLATE_SET | {"class_names": ["negative", "positive"]},
        ),
        parameters=[
            {
                "name": "name",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": "$template_sets"},
            }
        ],
        errors=["unknown_template_set"],
        tag=_TEMPLATE_SETS,
        id="template_set",
    ),
    Operation(
        "GET /v1/models",
        handlers.models,
        "List the models, and whether each is ready.",
        Answered("All models.", answers.ModelListJson, {"object": "list", "data": [examples.MODEL]}),
        tag=_OPERATIONS,
    ),
    Operation(
        "GET /livez",
        handlers.livez,
        "200 while the process is alive. Restart it when this fails.",
        Answered("Alive.", answers.AliveJson, {"status": "alive"}),
        open=True,
        tag=_OPERATIONS,
    ),
    Operation(
        "GET /readyz",
        handlers.readyz,
        "200 if the service would serve a request now. Send it no traffic while this is 503.",
        {
            200: Answered("Ready.", answers.ReadyJson, {"status": "ready"}),
            503: Answered("Not ready.", answers.NotReadyJson, {"status": "not ready"}),
        },
        open=True,
        tag=_OPERATIONS,
    ),
]


def add_routes(app: FastAPI, front: Front, operations: Iterable[Operation]) -> None:
    """Add them to the application itself: in a router FastAPI finds them more slowly."""
    for kind in (ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest, VectorOptions):
        reader_of(kind)
        marks_of(kind)
    for operation in operations:
        if operation.handler:
            endpoint = partial(operation.handler, front)
            app.router.add_route(operation.path, endpoint, methods=[operation.method])
