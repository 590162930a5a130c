"""Both encoders on an NVIDIA Triton server, over gRPC. Triton batches; this side does not.

An artifact `name` is two Triton models, `name_image` and `name_text` (`python -m models triton` writes them). The
gateway may be started before Triton, and Triton may go and come back: `watch` looks whether both models are
served, and whether they are the artifact that this gateway holds. A call is refused at once only where Triton is
known to be gone.

Triton's failures in the core's words: UNAVAILABLE says the server is gone, but also that its queue is full or that
a row waited too long in it; only the message tells these apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc import aio as triton
from tritonclient.utils import InferenceServerException

from service.clip.manifest import ModelManifest
from service.concurrency import together
from service.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from service.engine.triton.contract import TOWERS, Tensor, Tower, inputs, output, triton_model
from service.engine.triton.watch import TritonWatch
from service.errors import BackendFailed, BackendUnavailable, ClipError, DeadlineExceeded, Overloaded
from service.telemetry.log import logger
from service.telemetry.metrics import Metrics
from service.telemetry.request import remaining
from service.telemetry.tracing import called

_GONE = "Triton is not reachable, or does not serve this model now."
_CHUNKS_IN_FLIGHT = 4  # of one large request, so that others find room in Triton's queue
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A host that vanishes closes no connection; only unanswered pings tell. More often than this a server with
    # gRPC's defaults answers them with ENHANCE_YOUR_CALM.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # By default gRPC waits up to two minutes before it tries again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


@dataclass(frozen=True)
class TritonOptions:
    """Where Triton is and how to reach it.

    Attributes:
        url: host:port of its gRPC endpoint.
        tls: encrypt; `ca_file` holds the certificates to trust, without it the system's.
        token: sent with every call: for a proxy as `authorization: Bearer TOKEN`, for Triton itself as its key
            `token`, `--grpc-restricted-protocol=inference,health,model-config,statistics:token=TOKEN`.
        timeout_seconds: of a call made outside any request.
    """

    url: str
    tls: bool = False
    ca_file: Path | None = None
    token: str | None = None
    timeout_seconds: float = 10.0


class TritonBackend:
    """Calls the two models of one artifact."""

    engine = "triton"

    def __init__(self, manifest: ModelManifest, options: TritonOptions, metrics: Metrics) -> None:
        self._manifest = manifest
        self._inputs = {tower: inputs(manifest, tower) for tower in TOWERS}
        self._output = output(manifest)
        self._options = options
        self._metrics = metrics
        self._headers = _credentials(options.token)
        self._client: triton.InferenceServerClient | None = None
        self._watch: TritonWatch | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def precision(self) -> str | None:
        return self._watch.precision if self._watch is not None else None

    async def start(self) -> None:
        """Connect, and wait until Triton serves the two models: for as long as it takes.

        Raises:
            BackendUnavailable: Triton serves other models under these names, or the certificates cannot be read.
        """
        try:
            self._client = triton.InferenceServerClient(
                self._options.url,
                ssl=self._options.tls,
                root_certificates=self._options.ca_file,
                channel_args=_CHANNEL,
            )
        except OSError as error:
            raise BackendUnavailable(f"{self._options.ca_file} cannot be read: {error.strerror}") from None
        self._watch = TritonWatch(self._client, self._manifest, self._headers, self._metrics)
        await self._watch.until_ready()
        self._watching = asyncio.create_task(self._watch.watch())

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._encode("image", pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._encode("text", token_ids, lengths)

    async def ready(self) -> bool:
        return self._watch is not None and self._watch.ready

    async def aclose(self) -> None:
        self._watch = None
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _encode(self, tower: Tower, *arrays: npt.NDArray[Any]) -> Embeddings:
        limit = self._watch.max_batch.get(tower) if self._watch is not None else None
        if limit is None:
            raise BackendUnavailable(_GONE)
        rows = len(arrays[0])
        if rows <= limit:
            return await self._infer(tower, arrays)
        room = asyncio.Semaphore(_CHUNKS_IN_FLIGHT)

        async def chunk(start: int) -> Embeddings:
            async with room:
                return await self._infer(tower, [array[start : start + limit] for array in arrays])

        return np.concatenate(await together(chunk(start) for start in range(0, rows, limit)))

    async def _infer(self, tower: Tower, arrays: Sequence[npt.NDArray[Any]]) -> Embeddings:
        if self._client is None:
            raise BackendUnavailable("the connection to Triton is closed.")
        left = remaining(self._options.timeout_seconds)
        started = time.perf_counter()
        try:
            result = await called(
                "triton",
                self._client.infer,
                triton_model(self._manifest, tower),
                [_input(*each) for each in zip(self._inputs[tower], arrays, strict=True)],
                outputs=[InferRequestedOutput(self._output.name)],
                timeout=max(1, int(left * 1e6)),  # microseconds that Triton may keep it queued
                client_timeout=left,
                headers=self._headers,
            )
            embeddings = np.asarray(result.as_numpy(self._output.name), np.float32)  # [N, D]
        except InferenceServerException as error:
            raise _translated(error) from None
        except Exception:  # an answer that is no tensor, a channel closed under the call: no common base
            logger.exception("triton_answer")
            raise BackendFailed("Triton's answer cannot be read.") from None
        rows = len(arrays[0])
        self._metrics.batch(tower, rows, time.perf_counter() - started)
        if embeddings.shape != (rows, self._manifest.embed_dim):
            raise BackendFailed(f"Triton gave embeddings of {embeddings.shape} for {rows} rows.")
        return embeddings


def _credentials(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    return {"authorization": f"Bearer {token}", "triton-grpc-protocol-token": token}


def _input(tensor: Tensor, array: npt.NDArray[Any]) -> InferInput:
    if tensor.graph_dims is not None:
        array = array.reshape(len(array), *tensor.dims)
    made = InferInput(tensor.name, list(array.shape), tensor.data_type.removeprefix("TYPE_"))
    made.set_data_from_numpy(np.ascontiguousarray(array))
    return made


def _translated(error: InferenceServerException) -> ClipError:
    status, message = str(error.status()), str(error.message()).lower()
    if "maximum queue size" in message:
        return Overloaded("Triton's queue is full.", retry_after=1)
    if "timeout expired" in message:
        return DeadlineExceeded("the request waited in Triton's queue until its deadline.")
    if "DEADLINE_EXCEEDED" in status:
        return DeadlineExceeded("Triton did not answer in time.")
    if "UNAVAILABLE" in status or "NOT_FOUND" in status:
        return BackendUnavailable(_GONE)
    logger.error("triton_failed", status=status, message=message[:500])
    return BackendFailed("Triton failed on this request.")
