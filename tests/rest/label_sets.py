"""Label sets for tests of REST."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx

from tests.support import Running, form, png

EXAMPLE = base64.b64encode(png(7)).decode()
PETS: dict[str, Any] = {
    "labels": [
        "dog",
        {"label": "cat", "id": "c-1", "prompts": ["a pet", "my {}"], "threshold": 0.125},
        {"label": "cow", "examples": [EXAMPLE, f"data:image/png;base64,{EXAMPLE}"]},
    ],
    "templates": ["a {}", "the {}"],
    "background": ["else"],
    "temperature": 2.0,
    "threshold": 0.25,
    "example_weight": 0.5,
}


async def put(running: Running, name: str, **fields: Any) -> httpx.Response:
    return await running.client.put(f"/label-sets/{name}", json=fields)


async def kept(running: Running, name: str, **fields: Any) -> dict[str, Any]:
    answer = await put(running, name, **fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def shown(running: Running, name: str) -> dict[str, Any]:
    body: dict[str, Any] = (await running.client.get(f"/label-sets/{name}")).json()
    return body


async def listed(running: Running) -> list[dict[str, Any]]:
    answer = await running.client.get("/label-sets")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["label_sets"]
    return found


async def classify(running: Running, *images: bytes, **fields: Any) -> httpx.Response:
    return await running.client.post("/classify", files=form(images or [png()], fields))


async def classified(running: Running, **fields: Any) -> dict[str, Any]:
    answer = await classify(running, **fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def until_ready(running: Running, name: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (state := await shown(running, name))["state"] != "ready":
            await asyncio.sleep(0.02)
    return state
