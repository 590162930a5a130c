"""The table of adapters. `CLIPSERVE_COMPAT` enables them by name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from fastapi import APIRouter

from clipserve.rest.compat import cohere, hugging_face, immich, llama_cpp, openai, rerank, voyage, weaviate
from clipserve.rest.compat.names import Compat
from clipserve.rest.compat.shared import error_alone
from clipserve.rest.errors import Render


@dataclass(frozen=True)
class Adapter:
    """The API of another server. `error`: renders errors of paths with this beginning; None: as problem+json."""

    router: APIRouter
    begins: str = ""
    error: Render | None = None


ADAPTERS: dict[Compat, Adapter] = {
    "openai": Adapter(openai.router, "/v1/embeddings", openai.openai_error),
    "cohere": Adapter(cohere.router),
    "hugging-face": Adapter(hugging_face.router, "/models/", error_alone),
    "immich": Adapter(immich.router),
    "weaviate": Adapter(weaviate.router, "/vectorize", error_alone),
    "voyage": Adapter(voyage.router),
    "rerank": Adapter(rerank.router),
    "llama.cpp": Adapter(llama_cpp.router, "/embeddings", openai.openai_error),
}


def render_for(names: Collection[Compat]) -> Callable[[str], Render | None]:
    """A function: path -> what renders its errors; None: problem+json."""
    adapters = [ADAPTERS[name] for name in names if ADAPTERS[name].error]

    def render(path: str) -> Render | None:
        return next((each.error for each in adapters if path.startswith(each.begins)), None)

    return render
