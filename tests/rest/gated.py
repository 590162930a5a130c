"""Backends that do something before they answer, for the tests of both APIs."""

from __future__ import annotations

import asyncio

from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from loadtests.fake_backend import FakeBackend
from tests.support.service import DIM


class Delayed(FakeBackend):
    """Each call waits for `before`, which may raise."""

    def __init__(self) -> None:
        super().__init__(DIM)

    async def before(self) -> None:
        """What comes before an answer."""

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        await self.before()
        return await super().encode_image(pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        await self.before()
        return await super().encode_text(token_ids, lengths)


class Gated(Delayed):
    """Answers while `gate` is set, as it is at first. `running`: the calls that have no answer yet."""

    def __init__(self) -> None:
        super().__init__()
        self.running = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def before(self) -> None:
        self.running += 1
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
