"""Many clients at once, through both APIs: is each vector that of its item asked alone?"""

from __future__ import annotations

import asyncio
import base64
import io
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import numpy as np
import numpy.typing as npt
import skimage.data
from PIL import Image

from clipserve.v1 import clip_pb2, clip_pb2_grpc

Vector = npt.NDArray[np.float32]
Item = bytes | str

SAME = 0.99999
_CLIENTS = 24
_PHRASE = "a photo of the small red bus beside an old wooden house in the rain, seen from above at night"
_WORDS = _PHRASE.split()
BROKEN = b"\x89PNG\r\n\x1a\n"


def texts(count: int) -> list[str]:
    """Of one to sixty words, no two alike."""
    chosen = random.Random(7)
    return [" ".join(chosen.choices(_WORDS, k=1 + 59 * i // count)) + f" {i}" for i in range(count)]


def photos() -> list[bytes]:
    """Of several sizes, shapes and formats."""
    files = []
    for name, size, kind in (
        ("cat", (640, 480), "JPEG"),
        ("coffee", (320, 240), "PNG"),
        ("rocket", (800, 200), "JPEG"),
        ("astronaut", (224, 224), "WEBP"),
        ("astronaut", (100, 300), "JPEG"),
        ("cat", (64, 64), "PNG"),
    ):
        file = io.BytesIO()
        Image.fromarray(getattr(skimage.data, name)()).resize(size).save(file, kind)
        files.append(file.getvalue())
    return files


@dataclass
class Seen:
    """`outcomes`: how often each was met. `worst`: the least cosine of a vector to that of its item alone."""

    outcomes: Counter[str] = field(default_factory=Counter)
    worst: float = 1.0


class Neighbours:
    """Clients of a service at `url` and, over gRPC, at `rpc_address`."""

    def __init__(self, url: str, rpc_address: str) -> None:
        # Those who leave would else break off the end of idle connections.
        limits = httpx.Limits(max_connections=_CLIENTS, keepalive_expiry=None)
        self._http = httpx.AsyncClient(base_url=url, timeout=60, limits=limits)
        self._channel = grpc.aio.insecure_channel(rpc_address)
        self._stub: Any = clip_pb2_grpc.ClipStub(self._channel)
        self._items: list[Item] = [*texts(48), *photos()]
        self._alone: dict[Item, Vector] = {}
        self.seen = Seen()

    async def aclose(self) -> None:
        await self._http.aclose()
        await self._channel.close()

    async def ask_alone(self) -> None:
        """Each item, with no other request beside it."""
        for item in self._items:
            (vector,) = await self._by_rest([item])
            assert vector is not None
            self._alone[item] = vector

    async def ask(self, requests: int) -> Seen:
        """So many requests from clients side by side: some leave before their answer, some have bad images."""
        numbers = iter(range(requests))
        await asyncio.gather(*(self._client(numbers) for _ in range(_CLIENTS)))
        return self.seen

    async def _client(self, numbers: Any) -> None:
        for number in numbers:
            chosen = random.Random(number)
            items = chosen.choices(self._items, weights=[1] * 48 + [2] * 6, k=chosen.choice((1, 1, 1, 2, 4)))
            items += [BROKEN] * (chosen.random() < 0.05)
            items.sort(key=lambda item: isinstance(item, str))  # results of images come first
            ask = self._by_rest if number % 2 else self._by_rpc
            if chosen.random() < 0.1:
                await self._leave(ask(items), chosen.random() / 20)
            else:
                await self._compare(items, ask)

    async def _leave(self, asking: Any, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await asking
            self.seen.outcomes["answered before it left"] += 1
        except TimeoutError:
            self.seen.outcomes["left"] += 1
        except Busy:
            self.seen.outcomes["refused"] += 1

    async def _compare(self, items: Sequence[Item], ask: Any) -> None:
        while True:
            try:
                vectors = await ask(items)
                break
            except Busy as busy:
                self.seen.outcomes["refused"] += 1
                await asyncio.sleep(busy.seconds)
        for item, vector in zip(items, vectors, strict=True):
            if item == BROKEN:
                assert vector is None
                self.seen.outcomes["bad image"] += 1
            else:
                assert vector is not None
                self.seen.worst = min(self.seen.worst, float(vector @ self._alone[item]))
                self.seen.outcomes["vector"] += 1
        self.seen.outcomes["answered"] += 1

    async def _by_rest(self, items: Sequence[Item]) -> list[Vector | None]:
        body = {
            "images": [base64.b64encode(item).decode() for item in items if isinstance(item, bytes)],
            "texts": [item for item in items if isinstance(item, str)],
            "encoding_format": "base64",
        }
        answer = await self._http.post("/embed", json=body)
        if answer.status_code == 429:
            raise Busy(float(answer.headers["retry-after"]))
        if answer.status_code == 422 and items == [BROKEN] * len(items):
            return [None] * len(items)
        assert answer.status_code == 200, answer.text
        encoded = [result.get("embedding") for result in answer.json()["results"]]
        return [None if each is None else np.frombuffer(base64.b64decode(each), "<f4") for each in encoded]

    async def _by_rpc(self, items: Sequence[Item]) -> list[Vector | None]:
        request = clip_pb2.EmbedRequest(
            images=[item for item in items if isinstance(item, bytes)],
            texts=[item for item in items if isinstance(item, str)],
        )
        try:
            answer = await self._stub.Embed(request, timeout=60)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise Busy(0.5) from None
            raise
        return [np.frombuffer(r.embedding, "<f4") if r.embedding else None for r in answer.results]


class Busy(Exception):
    """Come back in so many `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


async def run(url: str, rpc_address: str, requests: int) -> Seen:
    """Ask alone, then so many requests at full load."""
    neighbours = Neighbours(url, rpc_address)
    try:
        await neighbours.ask_alone()
        return await neighbours.ask(requests)
    finally:
        await neighbours.aclose()


def check(seen: Seen, requests: int) -> None:
    """All vectors are right, and of so many requests most were answered, some had left, some had bad images."""
    assert seen.worst > SAME, seen
    assert seen.outcomes["answered"] > requests * 5 / 6, seen
    assert min(seen.outcomes[name] for name in ("left", "bad image")) > requests / 60, seen
