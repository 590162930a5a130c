"""The objects and functions that REST and gRPC share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, TypeVarTuple

from clipserve.access.gate import Gate
from clipserve.api.answers import (
    Classification,
    Embeddings,
    ImageLabels,
    ImageLabelSets,
    Similarities,
    Tokenization,
)
from clipserve.application.inference import Inference
from clipserve.application.label_sets.served import LabelSet
from clipserve.concurrency import beside_loop
from clipserve.errors import ClipError
from clipserve.quota import Quota
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext

Answer = TypeVar("Answer")
Rendered = TypeVar("Rendered")
Options = TypeVarTuple("Options")

# Bytes that rendering counts as: of a label's scores, of an item of a list, of a label set's prompt.
_LABEL_BYTES, _ITEM_BYTES, _PROMPT_BYTES = 16, 128, 64
_LISTS = (Embeddings, Similarities, Tokenization)  # answers with a result for each item
MAX_BULK_REQUESTS = 4
_MAY_BE_BULK = frozenset({"/embed", "grpc Embed"})  # "grpc EmbedStream" always is


@dataclass(frozen=True)
class Shared:
    """The use cases, and the limits and metrics of the requests of REST and gRPC together.

    `budget`: bytes. `bulk`: bulk requests, of which one caller has half.
    """

    inference: Inference
    budget: Quota
    bulk: Quota
    gate: Gate
    metrics: Metrics


async def rendered(
    render: Callable[[Answer, *Options], Rendered], answer: Answer, *options: *Options
) -> Rendered:
    """`render` of an answer and options, beside the event loop unless the answer is short."""
    return await beside_loop(partial(render, answer, *options), size_of(answer))


def size_of(answer: object) -> int:
    """About how many bytes rendering the answer reads or writes."""
    if isinstance(answer, Classification):
        labels = 0
        for result in answer.results:
            if isinstance(result, ImageLabels):
                labels += len(result.labels)
            elif isinstance(result, ImageLabelSets):
                labels += sum(len(each.labels) for each in result.label_sets)
        return _LABEL_BYTES * labels
    if isinstance(answer, LabelSet):
        return _PROMPT_BYTES * answer.prompts
    listed = answer.results if isinstance(answer, _LISTS) else answer
    return _ITEM_BYTES * len(listed) if isinstance(listed, Sequence) else 0


def known(error: Exception) -> ClipError:
    """The error for the caller. An unexpected error is logged with the request id; the caller gets no details."""
    if isinstance(error, ClipError):
        return error
    logger.error("unexpected", exc_info=error)
    return ClipError("the service failed unexpectedly.")


def record(metrics: Metrics, request: RequestContext, endpoint: str, outcome: str, *, quiet: bool) -> None:
    """Count an ended request, and log it unless `quiet`. A bulk request waits: it is an endpoint of its own."""
    if request.bulk and endpoint in _MAY_BE_BULK:
        endpoint = f"{endpoint} bulk"
    seconds = time.perf_counter() - request.began
    metrics.request(endpoint, outcome, seconds)
    if not quiet:
        usage: dict[str, str | int] = {}
        if request.key:
            usage = {"key": request.key, "rows": request.charged_rows, "bytes": request.charged_bytes}
        logger.info("request", endpoint=endpoint, outcome=outcome, ms=round(seconds * 1000, 1), **usage)
