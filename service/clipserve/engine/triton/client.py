"""Both encoders on one or more NVIDIA Triton servers, over gRPC. Put `Batched` around it.

An artifact `name` is two Triton models, `name_image` and `name_text` (`clipserve models triton` writes them).
`Servers` finds the servers and chooses one for each call; each `Server` has its own channel and state, and is
compared with the artifact that this gateway holds (`Expected`). The gateway may start before Triton.

A call whose server is gone or leaving, or computes nothing (INTERNAL), is made once more on another server, within
its deadline; encoding has no side effects, so both may compute it. `failures` has the table. If that one answers
INTERNAL too, or there is no other, the call is at fault, and the batcher makes it row by row; but not where a probe
has shown that the server is sick.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import numpy as np
from tritonclient.grpc import InferResult

from clipserve.clip.manifest import GPU_TEXT_BUCKETS, ModelManifest
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.engine.triton.address import Address, look_up
from clipserve.engine.triton.connection import TritonOptions
from clipserve.engine.triton.contract import EMBEDDING, TOWERS, Tower, inputs
from clipserve.engine.triton.expected import Expected
from clipserve.engine.triton.failures import TryElsewhere
from clipserve.engine.triton.message import Rows, TritonCall
from clipserve.engine.triton.server import Server
from clipserve.engine.triton.servers import LookUp, Servers
from clipserve.errors import BackendFailed, BackendUnavailable
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import remaining


class TritonBackend:
    """Calls the two models of one artifact. `servers`: those known now."""

    engine = "triton"
    precision: str | None = None  # the artifact's: a server of another one is refused
    text_buckets: Sequence[int] = GPU_TEXT_BUCKETS  # a plan has no profile for others

    def __init__(
        self, manifest: ModelManifest, options: TritonOptions, metrics: Metrics, look_up: LookUp = look_up
    ) -> None:
        """`look_up`: gives the servers behind an address."""
        self._embed_dim = manifest.embed_dim
        self._inputs = {tower: inputs(manifest, tower) for tower in TOWERS}
        self._options, self._metrics = options, metrics
        self._credentials: grpc.ChannelCredentials | None = None
        self._expected = Expected(manifest, options.max_batch_images, options.max_batch_texts)
        self.servers = Servers(options.addresses, self._connect, look_up, options.look_up_seconds)

    async def start(self) -> None:
        """Connect, and wait without a limit until a server serves both models.

        Raises:
            BackendUnavailable: all servers have other models under these names, or the certificates cannot be read.
        """
        self._credentials = self._options.credentials()
        await self.servers.start()

    async def encode_image(self, pixels: Pixels | Sequence[Pixels]) -> Embeddings:
        """uint8, N rows [S, S, 3], as one array or as N -> float32 [N, D]."""
        return await self._infer("image", pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._infer("text", token_ids, lengths)

    async def ready(self) -> bool:
        return self.servers.ready

    async def aclose(self) -> None:
        await self.servers.aclose()

    def _connect(self, url: str, address: Address) -> Server:
        channel = self._options.connect(url, address, self._credentials)
        return Server(url, channel, self._expected, self._options, self._metrics.triton)

    async def _infer(self, tower: Tower, *arrays: Rows) -> Embeddings:
        model = self._expected.models[tower]
        call = TritonCall(tower, model, self._inputs[tower], arrays)
        answer = await self._asked(call)
        embeddings = np.asarray(answer.as_numpy(EMBEDDING), np.float32)  # [N, D]
        if embeddings.shape != (call.rows, self._embed_dim):
            raise BackendFailed(f"Triton gave embeddings of {embeddings.shape} for {call.rows} rows.")
        self._expected.learn(call)
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
                return await server.infer(call, remaining(self._options.deadline_seconds))
            except TryElsewhere as failure:
                reason = failure.reason
        if reason == "internal" and asked[-1].ready:
            raise BackendFailed("Triton failed on this request.")
        raise BackendUnavailable("Triton is not reachable, or does not serve this model now.")
