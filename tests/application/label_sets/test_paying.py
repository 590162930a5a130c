"""A build is paid by the key that has put the set: as fast as its rate allows, and not at all without it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from clipserve.access.key_file import read_keys
from clipserve.telemetry.request import current
from tests.access.support import bearer, write_keys
from tests.application.label_sets.making import Counted, not_waiting
from tests.rest.label_sets import until_ready
from tests.support import Running, eventually, serving

SCOPES = {"scopes": ["use", "manage"]}
LABELS = [f"label {number}" for number in range(40)]
SECONDS = 30
PAID = 3.0  # seconds until 40 rows are paid at ten a second, where a window of one second is unused


def started(tmp_path: Path, toy: Path, backend: Counted) -> Any:
    return serving(backend, toy, keys_file=tmp_path / "keys", rate_window_seconds=1, put_wait_seconds=60)


async def put(running: Running, key: str, name: str = "pets", **fields: Any) -> dict[str, Any]:
    answer = await running.client.put(
        f"/label-sets/{name}", json={"labels": LABELS} | fields, headers=bearer(key)
    )
    assert answer.status_code in (200, 202), answer.text
    body: dict[str, Any] = answer.json()
    return body


async def unpaid(running: Running, key: str, **fields: Any) -> dict[str, Any]:
    """A put that the rate lets nobody build yet, which is told at once."""
    with not_waiting(running.gateway.inference.label_sets):
        return await put(running, key, **fields)


def nothing_yet(rows: int, began: float) -> None:
    """No rows are encoded, unless a busy machine has taken so long that they are paid."""
    assert rows == 0 or time.monotonic() - began >= PAID


async def test_a_put_of_more_than_the_rate_is_built_at_the_rate(toy: Path, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys", slow=SCOPES | {"rows_per_second": 10}, free=SCOPES)
    async with started(tmp_path, toy, backend := Counted()) as running:
        backend.texts, began = 0, time.monotonic()
        state = await unpaid(running, keys["slow"])
        assert "error" not in state
        nothing_yet(backend.texts, began)  # a piece is encoded when all of it is paid
        others = [f"other {number}" for number in range(40)]
        state = await put(running, keys["free"], "other", labels=others)
        assert state["state"] == "ready"
        nothing_yet(backend.texts - len(LABELS), began)  # the other does not wait
        running.client.headers.update(bearer(keys["free"]))
        async with asyncio.timeout(10 * SECONDS):
            await until_ready(running, "pets")
        assert backend.texts == 2 * len(LABELS)


async def test_a_key_that_is_removed_ends_its_build_and_another_key_goes_on_with_it(
    toy: Path, tmp_path: Path
) -> None:
    keys = write_keys(tmp_path / "keys", slow=SCOPES | {"rows_per_second": 1}, other=SCOPES)
    async with started(tmp_path, toy, backend := Counted()) as running:
        backend.texts = 0
        known = running.gateway.keys
        assert (await unpaid(running, keys["slow"]))["state"] == "building"
        known.replace([kept for kept in read_keys(tmp_path / "keys") if kept.name == "other"])
        sent = bearer(keys["other"])
        async with asyncio.timeout(SECONDS):
            while (await running.client.get("/label-sets/pets", headers=sent)).json()["state"] != "failed":
                await asyncio.sleep(0.05)
        shown = (await running.client.get("/label-sets/pets", headers=sent)).json()
        assert "was removed before its build was complete" in shown["error"]
        assert backend.texts == 0
        assert (await put(running, keys["other"]))["state"] == "ready"


async def test_another_gateway_on_the_store_does_not_build_it_for_nothing(toy: Path, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys", slow=SCOPES | {"rows_per_second": 10})
    here, there = Counted(), Counted()
    async with started(tmp_path, toy, here) as running, started(tmp_path, toy, there):
        here.texts, there.texts, began = 0, 0, time.monotonic()
        await unpaid(running, keys["slow"])
        await asyncio.sleep(1)
        nothing_yet(here.texts + there.texts, began)  # the other one pays too
        await eventually(lambda: here.texts + there.texts >= len(LABELS), 10 * SECONDS)


async def test_a_build_works_for_no_request_and_in_the_name_of_no_key_in_the_log(
    toy: Path, tmp_path: Path
) -> None:
    keys = write_keys(tmp_path / "keys", free=SCOPES)
    seen: list[Any] = []

    class Noting(Counted):
        async def encode_text(self, token_ids: Any, lengths: Any) -> Any:
            seen.extend(getattr(current(), "requests", ()))
            return await super().encode_text(token_ids, lengths)

    async with started(tmp_path, toy, Noting()) as running:
        seen.clear()
        assert (await put(running, keys["free"]))["state"] == "ready"
    assert {(request.id.startswith("label-set-"), request.bulk, request.key) for request in seen} == {
        (True, True, None)
    }
