"""The batcher as the tests use it: small batches, no waiting for company."""

from __future__ import annotations

from service.engine.backend import Backend
from service.engine.batch_queue import BatchPolicy
from service.engine.batched import Batched
from service.telemetry.metrics import Metrics


def batched(inner: Backend, images: int = 4, texts: int = 16) -> Batched:
    """`inner` behind a batcher of at most so many rows a call."""
    return Batched(inner, BatchPolicy(images), BatchPolicy(texts), Metrics())
