"""The services that cases need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from clipserve.access.key_file import add_key
from clipserve.errors import BackendFailed, BackendUnavailable
from tests.rest.gated import Delayed
from tests.support.service import Running, serving, write_toy_artifact


class Odd(Delayed):
    """Does what it is told from the moment that it is told."""

    error: Exception | None = None
    hangs = False

    async def before(self) -> None:
        if self.error:
            raise self.error
        if self.hangs:
            await asyncio.sleep(60)


PETS_FILE = '{"labels": ["cat", {"label": "dog", "id": "n1"}]}'


@asynccontextmanager
async def place(where: str, folder: Path) -> AsyncIterator[tuple[Running, dict[str, str]]]:
    """A service such as the case needs, and its keys by name."""
    toy, backend = await write_toy_artifact(folder / "toy"), Odd()
    settings: dict[str, Any] = {"max_pixels": 100_000, "state_dir": folder / "state"}
    keys: dict[str, str] = {"wrong": "clip_wrong"}
    if where in ("keyed", "used up"):
        file = settings["keys_file"] = folder / "keys"
        keys |= {"user": add_key(file, "user", ["use"]), "manager": add_key(file, "manager", ["manage"])}
    if where == "used up":
        settings |= {"rows_per_second": 1, "rate_window_seconds": 250}
    if where == "hanging":
        settings["deadline_seconds"] = 0.3
    if where == "busy":
        settings |= {"max_queue_seconds": 0.0}
    if where in ("files", "slow", "failed"):
        files = folder / "state" / "label-sets"
        files.mkdir(parents=True)
        if where == "files":
            (files / "pets.json").write_text(PETS_FILE)
        if where == "failed":
            (files / "pets.json").write_text(f'{{"labels": ["cat", "{"a" * 40}"]}}')
    async with serving(backend, toy, warm=where != "loading", grpc_enabled=True, **settings) as running:
        if where == "busy":
            backend.hangs = True
            (model,) = running.gateway.models.values()
            model.admission.learn_at_start("text", 1, 5.0)
            ahead = asyncio.create_task(running.embed(text="ahead"))
            while not running.gateway.metrics.registry.get_sample_value(
                "clipserve_rows_in_flight", {"tower": "text"}
            ):
                await asyncio.sleep(0.01)
        if where == "used up":
            header = {"Authorization": f"Bearer {keys['user']}"}
            assert (
                await running.client.post("/embed", json={"texts": ["a"] * 250}, headers=header)
            ).is_success
        backend.hangs = backend.hangs or where == "hanging"
        backend.error = {
            "away": BackendUnavailable("it is away."),
            "failing": BackendFailed("it failed."),
        }.get(where)
        if where == "faulty":
            # A fault of ours, which no request and no setting brings about.
            running.gateway.inference._rows._charge = _faulty
        if where == "files":
            await _has_pets(running, "ready")
        if where == "slow":
            running.gateway.inference.label_sets.part_for_build = 0.01  # of a minute
            backend.hangs = True
            (files / "pets.json").write_text(PETS_FILE)
            await _has_pets(running, "building")
        if where == "failed":
            running.gateway.inference.label_sets.part_for_build = (
                0.01  # it is not tried again, nor waited for
            )
            await _has_pets(running, "failed")
        if where == "no store":
            (folder / "state").touch()
        yield running, keys
        if where == "busy":
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)


async def _has_pets(running: Running, state: str) -> None:
    label_sets = running.gateway.inference.label_sets
    async with asyncio.timeout(60):
        while [each.state for each in label_sets.all()] != [state]:
            await asyncio.sleep(0.01)


async def _faulty(_: int) -> None:
    raise RuntimeError("a fault")
