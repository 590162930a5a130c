"""`clipserve mcp`: gives agents tools to search and classify photos, over the Model Context Protocol."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from clipserve.commands.opening import IN_FLIGHT, InFlight, Key, Model, Url, open_clip
from clipserve.commands.printing import say
from clipserve.commands.running import WRONG_USE, fail, run
from clipserve.settings.environment import read_settings
from clipserve.wiring.listening import is_open, listen, url_of

_REMEDY = "set CLIPSERVE_KEYS_FILE (clipserve keys add NAME), or CLIPSERVE_HOST to a loopback address."


def mcp(
    folder: Annotated[list[Path], typer.Option(help="A folder of photos that agents may see; repeatable.")],
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Serve HTTP at this port of CLIPSERVE_HOST, not stdio; 0: any."),
    ] = None,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Give agents tools to search, classify and compare the photos of folders.

    Agents see nothing outside of these folders. Over HTTP they need a key of CLIPSERVE_KEYS_FILE, if there is one.
    """
    try:
        from clipserve.commands.agents import Photos, serve_http, serve_stdio  # of an extra
    except ImportError:
        fail(
            "agents need the package mcp, which is not installed: pip install 'clipserve-core[mcp]'",
            status=WRONG_USE,
        )
    folders = {each.resolve().name: each.resolve() for each in folder}
    for each in folder:
        if not each.is_dir():
            fail(f"there is no folder {each}.", status=WRONG_USE)
    if len(folders) < len(folder):
        fail("two of the folders have the same name, by which agents know them.", status=WRONG_USE)

    async def served() -> int:
        async with AsyncExitStack() as stack:
            clip = await stack.enter_async_context(open_clip(url, key, model, in_flight, exact=True))
            photos = Photos(clip, [*folders.values()])
            if port is None:
                await serve_stdio(photos)
            else:
                settings = read_settings()
                if is_open(settings):
                    say(f"whoever reaches {settings.host} sees these photos: {_REMEDY}", err=True)
                listening = stack.enter_context(listen("--port", settings.host, port))
                say(f"agents ask {url_of(settings.host, listening)}/mcp", err=True)
                await serve_http(photos, settings.host, listening, settings.keys_file)
        return 0

    run(served())
