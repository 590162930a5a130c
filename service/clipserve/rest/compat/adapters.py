"""The table of adapters. `CLIPSERVE_COMPAT` enables them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from clipserve.application.inference import Inference
from clipserve.application.shared import Shared
from clipserve.rest.compat import clip_as_service, cohere, hugging_face, immich, openai, weaviate
from clipserve.rest.compat.items import error_alone
from clipserve.rest.compat.names import Compat
from clipserve.rest.errors import Render
from clipserve.rest.questions import Read, asking
from clipserve.rest.uploads import Parse, parse, parse_object


@dataclass(frozen=True)
class Adapter:
    """The API of another server.

    Attributes:
        path, read, parse: of its POST; see `asking`.
        error: renders errors of this path; None: as problem+json.
        add_probes: adds the paths by which its clients ask what runs here.
    """

    path: str
    read: Read
    parse: Parse[Any] = parse_object
    error: Render | None = None
    add_probes: Callable[[FastAPI, Inference], None] = lambda *_: None


ADAPTERS: dict[Compat, Adapter] = {
    "openai": Adapter("/v1/embeddings", openai.read, error=openai.openai_error),
    "cohere": Adapter("/v2/embed", cohere.read),
    "hugging-face": Adapter("/models/{model}", hugging_face.read, error=error_alone),
    "immich": Adapter("/predict", immich.read, parse, add_probes=immich.add_ping),
    "clip-as-service": Adapter("/post", clip_as_service.read),
    "weaviate": Adapter("/vectorize", weaviate.read, error=error_alone, add_probes=weaviate.add_probes),
}


def add_adapters(app: FastAPI, shared: Shared, max_json_bytes: int, names: Iterable[Compat]) -> None:
    for own in map(ADAPTERS.__getitem__, names):
        endpoint = asking(shared, max_json_bytes, own.read, own.parse)
        app.router.add_route(own.path, endpoint, methods=["POST"])
        own.add_probes(app, shared.inference)


def render_for(names: Iterable[Compat]) -> Callable[[str], Render | None]:
    """A function: path -> what renders its errors; None: problem+json."""
    own = [(ADAPTERS[name].path.partition("{")[0], ADAPTERS[name].error) for name in names]
    return lambda path: next((error for prefix, error in own if error and path.startswith(prefix)), None)
