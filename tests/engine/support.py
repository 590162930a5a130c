"""The batcher as the tests use it: small batches, no waiting for company."""

from __future__ import annotations

from clipserve.engine.backend import Backend
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batched import Batched
from clipserve.telemetry.metrics import Metrics


def batched(inner: Backend, images: int = 4, texts: int = 16) -> Batched:
    """`inner` behind a batcher of at most so many rows a call."""
    return Batched(inner, BatchPolicy(images), BatchPolicy(texts), Metrics())
