"""The table of adapters. `CLIPSERVE_COMPAT` enables them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fastapi import FastAPI

from clipserve.application.inference import Inference
from clipserve.concurrency import SideThread
from clipserve.rest.compat import clip_as_service, cohere, hugging_face, immich, openai, weaviate
from clipserve.rest.compat.items import error_alone
from clipserve.rest.compat.names import Compat
from clipserve.rest.errors import Render
from clipserve.rest.uploads import Uploads


@dataclass(frozen=True)
class Adapter:
    """An adapter. `add`: adds its routes. `errors`: prefix of paths -> renders their errors; else problem+json."""

    add: Callable[[FastAPI, Inference, Uploads, SideThread], None]
    errors: Mapping[str, Render] = field(default_factory=dict)


ADAPTERS: dict[Compat, Adapter] = {
    "openai": Adapter(openai.add_openai, {openai.PATH: openai.openai_error}),
    "cohere": Adapter(cohere.add_cohere),
    "hugging-face": Adapter(hugging_face.add_hugging_face, {hugging_face.PREFIX: error_alone}),
    "immich": Adapter(immich.add_immich),
    "clip-as-service": Adapter(clip_as_service.add_clip_as_service),
    "weaviate": Adapter(weaviate.add_weaviate, {weaviate.PATH: error_alone}),
}


def render_for(names: Iterable[Compat]) -> Callable[[str], Render | None]:
    """A function: path -> what renders its errors; None: problem+json."""
    prefixes = [prefix for name in names for prefix in ADAPTERS[name].errors.items()]
    return lambda path: next((render for prefix, render in prefixes if path.startswith(prefix)), None)
