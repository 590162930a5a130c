"""Encoders on Triton servers, with a batcher in front."""

from __future__ import annotations

from collections.abc import Callable

from clipserve.clip.manifest import ModelManifest
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batched import Batched
from clipserve.engine.triton.client import TritonBackend
from clipserve.engine.triton.connection import TritonOptions
from clipserve.engine.triton.contract import CALL_ROWS, Tower
from clipserve.telemetry.metrics import Metrics


def connect(
    manifest: ModelManifest, options_of: Callable[[type[TritonOptions]], TritonOptions], metrics: Metrics
) -> Batched:
    """The encoders of an artifact on the servers of the options, not started."""
    options = options_of(TritonOptions)
    backend = TritonBackend(manifest, options, metrics)

    def policy(tower: Tower, max_batch: int | None) -> BatchPolicy:
        return BatchPolicy(
            max_batch or CALL_ROWS[tower],
            max_rows_now=lambda: backend.servers.max_batch(tower),
            calls_now=lambda: backend.servers.calls(tower),
            stack=tower == "text",  # pixels are copied once, into the message
        )

    return Batched(
        backend, policy("image", options.max_batch_images), policy("text", options.max_batch_texts), metrics
    )
