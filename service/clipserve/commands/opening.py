"""Opens the CLIP that a command's options name."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

import structlog
import typer

from clipserve.client.methods import AsyncMethods
from clipserve.clip.images import configure_pillow
from clipserve.commands.printing import say
from clipserve.settings import read_settings
from clipserve.telemetry import log

Url = Annotated[
    str | None,
    typer.Option(
        envvar="CLIPSERVE_URL",
        help="A running service, http://localhost:8080, in place of a model in this process.",
    ),
]
Key = Annotated[
    str | None,
    typer.Option(envvar="CLIPSERVE_KEY", help="The service's key, if it needs one; safer in CLIPSERVE_KEY."),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="A model: its name or, in this process, its folder. Without it, the first that is served."
    ),
]
InFlight = Annotated[int, typer.Option(min=1, max=1024, help="With --url: requests at a time.")]
Every = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="Take a frame of videos in so many seconds; 0: key frames."),
]
Force = Annotated[bool, typer.Option("--force", help="Write over a file of another kind.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
IN_FLIGHT = 16  # requests: a quarter of a second of work for two cores; a service with a GPU takes more


@asynccontextmanager
async def open_clip(
    url: str | None, key: str | None, model: str | None, in_flight: int = IN_FLIGHT
) -> AsyncIterator[AsyncMethods]:
    """The service at `url`, else the model of CLIPSERVE_MODELS in this process, with one fingerprint until the end.

    Raises:
        ClipserveError: neither can be used; the message says why.
        BadSettings: see `read_settings`.
    """
    configure_pillow()
    if url is not None:
        from clipserve.client.remote import AsyncClient  # loads the HTTP client

        async with AsyncClient(url, key=key, model=model, in_flight=in_flight) as remote:
            await remote.pin()
            yield remote
        return
    from clipserve.client.in_process import open_in_process  # loads the engines

    configure = log.configure if not structlog.is_configured() else lambda *_: None
    configure("INFO", sys.stderr)  # for an export, which takes minutes
    errors_alone = partial(configure, "ERROR", sys.stderr)  # an image's warnings are in its error
    warn = partial(say, err=True)
    async with open_in_process(read_settings(), model, warn=warn, when_found=errors_alone) as local:
        yield local
