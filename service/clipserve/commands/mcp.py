"""`clipserve mcp`: gives an agent tools to search and classify photos, over the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipserve.commands.opening import IN_FLIGHT, InFlight, Key, Model, Url, open_clip
from clipserve.commands.running import WRONG_USE, fail, run


def mcp(
    folder: Annotated[
        list[Path], typer.Option(help="A folder of photos that the agent may see; repeatable.")
    ],
    url: Url = None,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Give an agent tools to search, classify and compare the photos of folders.

    It speaks over standard input and output with the program that started it. The agent sees nothing outside of
    these folders.
    """
    try:
        from clipserve.commands.agents import Photos, serve  # of an extra
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
        async with open_clip(url, key, model, in_flight) as clip:
            await serve(Photos(clip, [*folders.values()]))
        return 0

    run(served())
