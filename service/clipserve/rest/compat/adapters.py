"""The table of adapters. `CLIPSERVE_COMPAT` enables them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clipserve.rest.compat import (
    clip_as_service,
    cohere,
    hugging_face,
    immich,
    llama_cpp,
    openai,
    rerank,
    voyage,
    weaviate,
)
from clipserve.rest.compat.names import Compat
from clipserve.rest.compat.shared import error_alone
from clipserve.rest.errors import Render
from clipserve.rest.operation import Operation


@dataclass(frozen=True)
class Adapter:
    """The API of another server. `error`: renders errors of its first operation; None: as problem+json."""

    operations: Sequence[Operation]
    error: Render | None = None


ADAPTERS: dict[Compat, Adapter] = {
    "openai": Adapter(openai.OPERATIONS, openai.openai_error),
    "cohere": Adapter(cohere.OPERATIONS),
    "hugging-face": Adapter(hugging_face.OPERATIONS, error_alone),
    "immich": Adapter(immich.OPERATIONS),
    "clip-as-service": Adapter(clip_as_service.OPERATIONS),
    "weaviate": Adapter(weaviate.OPERATIONS, error_alone),
    "voyage": Adapter(voyage.OPERATIONS),
    "rerank": Adapter(rerank.OPERATIONS),
    "llama.cpp": Adapter(llama_cpp.OPERATIONS, openai.openai_error),
}


def operations_of(names: Iterable[Compat]) -> list[Operation]:
    """The operations of these adapters."""
    return [operation for name in names for operation in ADAPTERS[name].operations]


def render_for(names: Iterable[Compat]) -> Callable[[str], Render | None]:
    """A function: path -> what renders its errors; None: problem+json."""
    names = tuple(names)
    adapters = [ADAPTERS[name] for name in names]
    errors = [(adapter.operations[0].path.partition("{")[0], adapter.error) for adapter in adapters]
    known = {"/v1/models", *(operation.path for operation in operations_of(names))}
    rest = openai.openai_error if "openai" in names else None  # of paths that OpenAI's clients ask in vain

    def render(path: str) -> Render | None:
        of_adapter = next((error for prefix, error in errors if error and path.startswith(prefix)), None)
        return of_adapter or (rest if path.startswith("/v1/") and path not in known else None)

    return render
