"""Both encoders on an NVIDIA Triton server, over gRPC. Triton batches; this side does not.

An artifact `name` is two Triton models, `name_image` and `name_text` (`python -m models triton` writes them). The
gateway may be started before Triton, and Triton may go and come back: a watcher looks twice a second whether both
models are served, and whether they are the artifact that this gateway holds. `ready()` is what it last saw.

Triton's failures in the core's words: UNAVAILABLE says the server is gone, but also that its queue is full or that
a row waited too long in it; only the message tells these apart.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc import aio as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from service.backends.base import Embeddings, Lengths, Pixels, TokenIds
from service.concurrency import together
from service.deadline import remaining
from service.errors import BackendFailed, BackendUnavailable, ClipError, DeadlineExceeded, Overloaded
from service.log import logger
from service.manifest import ModelManifest
from service.metrics import Metrics

_WATCH_SECONDS = 0.5
_PROBE_SECONDS = 0.4  # a stopped server does not answer at all
_CHUNKS_IN_FLIGHT = 4  # of one large request, so that others find room in Triton's queue
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Without pings nobody notices a server that has vanished, until the deadline of each call.
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 1_000),
    ("grpc.http2.ping_timeout_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
    # By default gRPC waits up to two minutes before it tries again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]
_PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class TritonOptions:
    """Where Triton is and how to reach it.

    Attributes:
        url: host:port of its gRPC endpoint.
        tls: encrypt; `ca_file` holds the certificates to trust, without it the system's.
        token: sent as `authorization: Bearer ...`.
        timeout_seconds: of a call made outside any request.
    """

    url: str
    tls: bool = False
    ca_file: str | None = None
    token: str | None = None
    timeout_seconds: float = 10.0


class TritonBackend:
    """Calls the two models of one artifact."""

    def __init__(self, manifest: ModelManifest, options: TritonOptions, metrics: Metrics) -> None:
        self._manifest = manifest
        self._options = options
        self._metrics = metrics
        self._client: triton.InferenceServerClient | None = None
        self._max_batch: dict[str, int] = {}  # tower -> rows of one call; empty while unavailable
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and wait until Triton serves the two models: for as long as it takes.

        Raises:
            BackendUnavailable: Triton serves other models under these names.
        """
        self._client = triton.InferenceServerClient(
            self._options.url,
            ssl=self._options.tls,
            root_certificates=self._options.ca_file,
            channel_args=_CHANNEL,
        )
        if not await self._look():
            logger.warning("waiting_for_triton", url=self._options.url, model=self._manifest.name)
            while not await self._look():
                await asyncio.sleep(_WATCH_SECONDS)
        self._watcher = asyncio.create_task(self._watch())

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._encode("image", {"pixels": pixels})

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._encode("text", {"token_ids": token_ids, "lengths": lengths[:, np.newaxis]})

    async def ready(self) -> bool:
        return bool(self._max_batch)

    async def aclose(self) -> None:
        self._max_batch = {}
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _model(self, tower: str) -> str:
        return f"{self._manifest.name}_{tower}"

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._options.token}"} if self._options.token else {}

    async def _encode(self, tower: str, arrays: dict[str, npt.NDArray[Any]]) -> Embeddings:
        limit = self._max_batch.get(tower)
        if limit is None:
            raise BackendUnavailable("Triton is not reachable, or does not serve this model now.")
        rows = len(next(iter(arrays.values())))
        if rows <= limit:
            return await self._infer(tower, arrays)
        room = asyncio.Semaphore(_CHUNKS_IN_FLIGHT)

        async def chunk(start: int) -> Embeddings:
            async with room:
                return await self._infer(tower, {k: a[start : start + limit] for k, a in arrays.items()})

        return np.concatenate(await together(chunk(start) for start in range(0, rows, limit)))

    async def _infer(self, tower: str, arrays: dict[str, npt.NDArray[Any]]) -> Embeddings:
        if self._client is None:
            raise BackendUnavailable("the connection to Triton is closed.")
        left = remaining(self._options.timeout_seconds)
        started = time.perf_counter()
        try:
            result = await self._client.infer(
                self._model(tower),
                [_input(name, array) for name, array in arrays.items()],
                outputs=[InferRequestedOutput("embedding")],
                timeout=max(1, int(left * 1e6)),  # microseconds that Triton may keep it queued
                client_timeout=left,
                headers=self._headers(),
            )
            embeddings = np.asarray(result.as_numpy("embedding"), np.float32)  # [N, D]
        except InferenceServerException as error:
            raise _translated(error) from None
        except Exception:  # an answer that is no tensor, a channel closed under the call: no common base
            logger.exception("triton_answer")
            raise BackendFailed("Triton's answer cannot be read.") from None
        rows = len(next(iter(arrays.values())))
        self._metrics.batch(tower, rows, time.perf_counter() - started)
        if embeddings.shape != (rows, self._manifest.embed_dim):
            raise BackendFailed(f"Triton gave embeddings of {embeddings.shape} for {rows} rows.")
        return embeddings

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            was = bool(self._max_batch)
            try:
                now = await self._look()
                if now:
                    await self._read_statistics()
            except ClipError as error:
                self._max_batch, now = {}, False
                logger.error("triton_mismatch", detail=error.detail)
            except InferenceServerException:
                continue
            if now != was:
                logger.warning("triton_is_back" if now else "triton_is_gone", url=self._options.url)

    async def _look(self) -> bool:
        """Whether both models are ready; learns their limits when they have just become so."""
        assert self._client is not None
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                for tower in ("image", "text"):
                    if not await self._client.is_model_ready(self._model(tower), headers=self._headers()):
                        self._max_batch = {}
                        return False
                if not self._max_batch:
                    self._max_batch = {t: await self._checked_limit(t) for t in ("image", "text")}
        except (InferenceServerException, TimeoutError):
            self._max_batch = {}
            return False
        return True

    async def _checked_limit(self, tower: str) -> int:
        """Compare Triton's model with the manifest.

        Returns:
            the rows that one call may have.

        Raises:
            BackendUnavailable: it is another model, or another build of this one.
        """
        assert self._client is not None
        answer = await self._client.get_model_config(self._model(tower), headers=self._headers())
        config = answer.config
        size = self._manifest.image.size
        expected = {
            "image": {"pixels": ("TYPE_UINT8", [size, size, 3])},
            "text": {"token_ids": ("TYPE_INT32", [-1]), "lengths": ("TYPE_INT32", [1])},
        }[tower] | {"embedding": ("TYPE_FP32", [self._manifest.embed_dim])}
        actual = {
            tensor.name: (_type_name(tensor), list(tensor.dims)) for tensor in [*config.input, *config.output]
        }
        if actual != expected:
            raise BackendUnavailable(
                f"Triton's model {self._model(tower)} has tensors {actual}; the artifact needs {expected}."
            )
        served = config.parameters["fingerprint"].string_value
        if served != self._manifest.fingerprint():
            raise BackendUnavailable(
                f"Triton's model {self._model(tower)} is {served or 'of unknown origin'}; this gateway has "
                f"{self._manifest.fingerprint()}. Make the repository anew from the same artifact."
            )
        return max(1, int(config.max_batch_size))

    async def _read_statistics(self) -> None:
        assert self._client is not None
        for tower in ("image", "text"):
            answer = await self._client.get_inference_statistics(
                self._model(tower), headers=self._headers(), client_timeout=_PROBE_SECONDS
            )
            for model in answer.model_stats:
                for phase in _PHASES:
                    seconds = getattr(model.inference_stats, phase).ns / 1e9
                    self._metrics.triton_phase(model.name, phase, seconds)


def _input(name: str, array: npt.NDArray[Any]) -> InferInput:
    tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(np.ascontiguousarray(array))
    return tensor


def _type_name(tensor: Any) -> str:
    return str(
        tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name
    )


def _translated(error: InferenceServerException) -> ClipError:
    status, message = str(error.status()), str(error.message()).lower()
    if "maximum queue size" in message:
        return Overloaded("Triton's queue is full.", retry_after=1)
    if "timeout expired" in message:
        return DeadlineExceeded("the request waited in Triton's queue until its deadline.")
    if "DEADLINE_EXCEEDED" in status:
        return DeadlineExceeded("Triton did not answer in time.")
    if "UNAVAILABLE" in status or "NOT_FOUND" in status:
        return BackendUnavailable("Triton is not reachable, or does not serve this model now.")
    logger.error("triton_failed", status=status, message=message[:500])
    return BackendFailed("Triton failed on this request.")
