"""Both encoders on one or more NVIDIA Triton servers, over gRPC. Put `Batched` around it.

An artifact `name` is two Triton models, `name_image` and `name_text` (`clipserve models triton` writes them).

`Servers` finds the servers and chooses one for each call; each `Server` has its own channel and state, and is
compared with the artifact that this gateway holds (`Expected`). The gateway may start before Triton, and servers
may stop and come back: a call is refused at once only if all servers are known to be gone.

If a server is gone or leaving, computes nothing (INTERNAL), or does not respond while a call waits, the call is
retried once on another server, within its deadline. Encoding has no side effects, so both may compute it.
`failures` has the table. If there is no other, or it answers INTERNAL too, its probe decides: if it passes, the
call is at fault, and the batcher retries it row by row; if not, there is no server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import InferResult

from clipserve.clip.manifest import ModelManifest
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.engine.triton.address import Address, look_up
from clipserve.engine.triton.contract import EMBEDDING, TOWERS, Tower, inputs
from clipserve.engine.triton.expected import Expected
from clipserve.engine.triton.failures import TryElsewhere
from clipserve.engine.triton.message import Rows, TritonCall
from clipserve.engine.triton.options import TritonOptions
from clipserve.engine.triton.server import Server
from clipserve.engine.triton.servers import LookUp, Servers
from clipserve.errors import BackendFailed, BackendUnavailable, ClipError, DeadlineExceeded
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import remaining


class TritonBackend:
    """Calls the two models of one artifact. `servers`: those known now."""

    engine = "triton"
    facts: Mapping[str, Any] = {}

    def __init__(
        self, manifest: ModelManifest, options: TritonOptions, metrics: Metrics, look_up: LookUp = look_up
    ) -> None:
        """`look_up`: gives the servers behind an address."""
        self._embed_dim = manifest.embed_dim
        self._inputs = {tower: inputs(manifest, tower) for tower in TOWERS}
        self._options = options
        self._metrics = metrics
        rows = {"image": options.max_batch_images, "text": options.max_batch_texts}
        self._expected = Expected(manifest, {tower: rows[tower] for tower in TOWERS})
        self.servers = Servers(options.addresses, self._connect, look_up, options.look_up_seconds)

    @property
    def precision(self) -> str | None:
        return self._expected.precision

    @property
    def text_buckets(self) -> Sequence[int]:
        return self._expected.text_buckets

    async def start(self) -> None:
        """Connect, and wait without a limit until a server serves both models.

        Raises:
            BackendUnavailable: all servers have other models under these names, or the certificates cannot be read.
        """
        self._options.check_certificates()
        await self.servers.start()

    async def encode_image(self, pixels: Pixels | Sequence[Pixels]) -> Embeddings:
        """uint8, N rows [S, S, 3], as one array or as N -> float32 [N, D]."""
        return await self._infer("image", pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._infer("text", self._expected.padded(token_ids), lengths)

    async def ready(self) -> bool:
        return self.servers.ready

    async def aclose(self) -> None:
        await self.servers.aclose()

    def _connect(self, url: str, address: Address) -> Server:
        channel = self._options.connect(url, address)
        return Server(url, channel, self._expected, self._options, self._metrics.triton)

    async def _infer(self, tower: Tower, *arrays: Rows) -> Embeddings:
        model = self._expected.models[tower]
        call = TritonCall(tower, model, self._inputs[tower], arrays)
        try:
            answer = await self._asked(call)
            embeddings = np.asarray(answer.as_numpy(EMBEDDING), np.float32)  # [N, D]
        except ClipError:
            raise
        except Exception:  # an answer that is no tensor, a channel closed under the call: no common base
            logger.exception("triton_answer")
            raise BackendFailed("Triton's answer cannot be read.") from None
        if embeddings.shape != (call.rows, self._embed_dim):
            raise BackendFailed(f"Triton gave embeddings of {embeddings.shape} for {call.rows} rows.")
        self._expected.learn(call, embeddings)
        return embeddings

    async def _asked(self, call: TritonCall) -> InferResult:
        """The answer of one server, or else of one other."""
        asked: list[Server] = []
        reason = ""
        while len(asked) < 2 and (server := self.servers.choose(call.tower, call.rows, but=asked)):
            if asked:
                self._metrics.triton.retries(reason).inc()
            asked.append(server)
            try:
                return await server.infer(call, self._seconds())
            except TryElsewhere as failure:
                reason = failure.reason
        if reason == "internal":
            try:
                async with asyncio.timeout(self._seconds()):
                    if await asked[-1].probed():
                        raise BackendFailed("Triton failed on this request.")
            except TimeoutError:
                raise DeadlineExceeded("Triton did not answer in time.") from None
        raise BackendUnavailable("Triton is not reachable, or does not serve this model now.")

    def _seconds(self) -> float:
        """Until the request's deadline."""
        return remaining(self._options.deadline_seconds)
