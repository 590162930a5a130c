"""The objects and functions that all fronts share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from clipserve.access.gate import Gate
from clipserve.application.answers import Classification, Embedding, Similarities, Tokenization
from clipserve.application.byte_budget import ByteBudget
from clipserve.application.inference import Inference
from clipserve.application.label_sets.entry import LabelSet
from clipserve.application.stream import BulkPlaces
from clipserve.concurrency import SideThread
from clipserve.errors import ClipError
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext

Answer = TypeVar("Answer")
Rendered = TypeVar("Rendered")
Options = TypeVarTuple("Options")

# Answers that a front renders in half a millisecond at most.
_SHORT_LABELS = 256
_SHORT_LIST = 32
_SHORT_PROMPTS = 64  # of a label set


@dataclass(frozen=True)
class Shared:
    """The use cases, and the limits and metrics of the requests of all fronts together."""

    inference: Inference
    side: SideThread
    budget: ByteBudget
    bulk_places: BulkPlaces
    gate: Gate
    metrics: Metrics

    async def rendered(
        self, render: Callable[[Answer, *Options], Rendered], answer: Answer, *options: *Options
    ) -> Rendered:
        """`render` of an answer and options, in the side thread unless the answer is short."""
        return await self.side.call(render, answer, *options, short=is_short(answer))


def is_short(answer: object) -> bool:
    """Whether the answer is so small that rendering it takes about as long as waking a thread."""
    if isinstance(answer, Embedding):
        return len(answer.images) + len(answer.texts) <= _SHORT_LIST
    if isinstance(answer, Classification):
        lists = (lists for lists in answer.results if not isinstance(lists, ClipError))
        return sum(len(labels) for each in lists for labels in each) <= _SHORT_LABELS
    if isinstance(answer, LabelSet):  # of weights, which may be megabytes, a digest is computed
        return answer.prompts <= _SHORT_PROMPTS and answer.definition.weights is None
    listed = answer.results if isinstance(answer, Similarities | Tokenization) else answer
    return not isinstance(listed, Sequence) or len(listed) <= _SHORT_LIST


def known(error: Exception) -> ClipError:
    """The error for the caller. An unexpected error is logged with the request id; the caller gets no details."""
    if isinstance(error, ClipError):
        return error
    logger.error("unexpected", exc_info=error)
    return ClipError("the service failed unexpectedly.")


def record(metrics: Metrics, request: RequestContext, endpoint: str, outcome: str, *, quiet: bool) -> None:
    """Count an ended request, and log it unless `quiet`."""
    seconds = time.perf_counter() - request.began
    metrics.request(endpoint, outcome, seconds)
    if not quiet:
        usage: dict[str, str | int] = {}
        if request.key:
            usage = {"key": request.key, "rows": request.charged_rows, "bytes": request.charged_bytes}
        logger.info("request", endpoint=endpoint, outcome=outcome, ms=round(seconds * 1000, 1), **usage)
