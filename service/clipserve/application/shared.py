"""What all fronts have in common."""

from __future__ import annotations

from dataclasses import dataclass

from clipserve.access.gate import Gate
from clipserve.application.byte_budget import ByteBudget
from clipserve.application.inference import Inference
from clipserve.application.stream import BulkPlaces
from clipserve.concurrency import SideThread
from clipserve.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Shared:
    """The use cases, and what bounds and counts the requests of all fronts together."""

    inference: Inference
    side: SideThread
    budget: ByteBudget
    bulk_places: BulkPlaces
    gate: Gate
    metrics: Metrics
