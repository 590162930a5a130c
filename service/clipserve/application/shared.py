"""The objects and functions that all fronts share."""

from __future__ import annotations

import time
from dataclasses import dataclass

from clipserve.access.gate import Gate
from clipserve.application.byte_budget import ByteBudget
from clipserve.application.inference import Inference
from clipserve.application.stream import BulkPlaces
from clipserve.concurrency import SideThread
from clipserve.errors import ClipError
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext


@dataclass(frozen=True)
class Shared:
    """The use cases, and the limits and metrics of the requests of all fronts together."""

    inference: Inference
    side: SideThread
    budget: ByteBudget
    bulk_places: BulkPlaces
    gate: Gate
    metrics: Metrics


def known(error: Exception) -> ClipError:
    """The error for the caller. An unexpected error is logged with the request id; the caller gets no details."""
    if isinstance(error, ClipError):
        return error
    logger.error("unexpected", exc_info=error)
    return ClipError("the service failed unexpectedly.")


def record(
    metrics: Metrics, request: RequestContext, endpoint: str, outcome: str, began: float, *, quiet: bool
) -> None:
    """Count an ended request, and log it unless `quiet`. `began`: of time.perf_counter()."""
    seconds = time.perf_counter() - began
    metrics.request(endpoint, outcome, seconds)
    if not quiet:
        key = {"key": request.key} if request.key else {}
        logger.info("request", endpoint=endpoint, outcome=outcome, ms=round(seconds * 1000, 1), **key)
