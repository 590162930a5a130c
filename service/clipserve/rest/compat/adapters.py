"""The table of adapters. `CLIPSERVE_COMPAT` enables them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fastapi import FastAPI

from clipserve.rest.compat import clip_as_service, cohere, hugging_face, immich, openai, weaviate
from clipserve.rest.compat.items import error_alone
from clipserve.rest.compat.names import Compat
from clipserve.rest.errors import Render
from clipserve.rest.front import Front
from clipserve.rest.routes import Handler, add_route


@dataclass(frozen=True)
class Adapter:
    """The API of another server.

    Attributes:
        path, handler: of its POST.
        error: renders errors of this path; None: as problem+json.
        probes: the paths by which its clients ask what runs here.
    """

    path: str
    handler: Handler
    error: Render | None = None
    probes: Mapping[str, Handler] = field(default_factory=dict)


ADAPTERS: dict[Compat, Adapter] = {
    "openai": Adapter("/v1/embeddings", openai.embeddings, error=openai.openai_error),
    "cohere": Adapter("/v2/embed", cohere.embed),
    "hugging-face": Adapter("/models/{model}", hugging_face.classify, error=error_alone),
    "immich": Adapter("/predict", immich.predict, probes=immich.PROBES),
    "clip-as-service": Adapter("/post", clip_as_service.post),
    "weaviate": Adapter("/vectorize", weaviate.vectorize, error=error_alone, probes=weaviate.PROBES),
}


def add_adapters(app: FastAPI, front: Front, names: Iterable[Compat]) -> None:
    for adapter in map(ADAPTERS.__getitem__, names):
        add_route(app, front, "POST", adapter.path, adapter.handler)
        for path, handler in adapter.probes.items():
            add_route(app, front, "GET", path, handler)


def render_for(names: Iterable[Compat]) -> Callable[[str], Render | None]:
    """A function: path -> what renders its errors; None: problem+json."""
    errors = [(ADAPTERS[name].path.partition("{")[0], ADAPTERS[name].error) for name in names]
    return lambda path: next((error for prefix, error in errors if error and path.startswith(prefix)), None)
