"""Rates at a Triton without a gateway: calls of many rows, as a gateway gathers them, from this process.

First a closed loop finds what the server takes; then an open loop sends shares of that, whatever becomes of them. A
call's latency counts from the moment at which it was due.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import tritonclient.grpc.aio as client
from tritonclient.utils import InferenceServerException

from loadtests.gpu.facts import GpuUse
from loadtests.gpu.inputs import Inputs, Rows, bounds, tensors
from loadtests.gpu.servers import Triton
from loadtests.load import NO_ANSWER, Answer, Load

SHARES = (0.25, 0.5, 0.75, 0.9)
_CALLS = 8  # in flight in a closed loop: two for each of Triton's instances, and as many on their way
_PHRASES = 64  # different calls, sent again and again; Triton keeps no vectors
# How long texts are: labels in a prompt, captions, long sentences; by padded length, the shortest first.
_WEIGHTS = (12, 3, 1)

Send = Callable[[int], Awaitable[None]]  # a call's number


def sweep(
    triton: Triton, inputs: Inputs, tower: str, rows: int, seconds: float, shares: Sequence[float] = SHARES
) -> list[dict[str, Any]]:
    """A tower at the rate that it takes, then at shares of it. `rows`: of a call; `seconds`: of each run."""
    return asyncio.run(_sweep(triton, inputs, tower, rows, seconds, shares))


def decks(triton: Triton, inputs: Inputs, tower: str, rows: int) -> list[Rows]:
    """Calls that take turns. Those of texts have one padded length each, short ones far more often."""
    most = min(rows, triton.models[tower].max_batch_size)
    if tower == "image":
        return [inputs.images(most, seed) for seed in range(4)]
    spans = bounds(triton.lengths)
    weights = [*_WEIGHTS, *(_WEIGHTS[-1:] * len(spans))][: len(spans)]
    chosen = [span for span, weight in zip(spans, weights, strict=True) for _ in range(weight)]
    order = [chosen[number * 5 % len(chosen)] for number in range(_PHRASES)]
    return [
        inputs.texts(most, length, shorter, first=number * most)
        for number, (shorter, length) in enumerate(order)
    ]


async def _sweep(
    triton: Triton, inputs: Inputs, tower: str, rows: int, seconds: float, shares: Sequence[float]
) -> list[dict[str, Any]]:
    prepared = [tensors(each) for each in decks(triton, inputs, tower, rows)]
    most = int(prepared[0][0].shape()[0])
    async with client.InferenceServerClient(triton.url) as server:

        async def send(number: int) -> None:
            await server.infer(triton.models[tower].name, prepared[number % len(prepared)])

        async def measured(loop: Awaitable[Load], asked: float | None) -> dict[str, Any]:
            before = triton.counted()
            with GpuUse() as use:
                load = await loop
            return _figures(load, most, asked) | triton.counted().since(before, tower) | {"gpu": use.data}

        await closed(send, _CALLS, min(seconds, 1.0))
        made = [await measured(closed(send, _CALLS, seconds), None)]
        for share in shares:
            rate = made[0]["calls"] * share
            made.append(await measured(opened(send, rate, seconds), rate * most))
        return made


def _figures(load: Load, rows: int, asked: float | None) -> dict[str, Any]:
    """Rows and calls a second, seconds; `asked`: rows a second that were sent, None in a closed loop."""
    calls = len(load.good) / load.seconds
    return {
        "rows_a_call": rows,
        "asked_rows": asked,
        "rows": calls * rows,
        "calls": calls,
        "p50": load.percentile(0.5),
        "p99": load.percentile(0.99),
        "failed": len(load.answers) - len(load.good),
        "generator": load.client_share,
    }


async def closed(send: Send, clients: int, seconds: float) -> Load:
    """`clients` at a time, each with its next call as soon as it has its answer."""
    numbers, answers = itertools.count(), list[Answer]()
    cpu, started = time.process_time(), time.perf_counter()

    async def one() -> None:
        while (due := time.perf_counter() - started) < seconds:
            answers.append(await _answered(send, next(numbers), due, started))

    await asyncio.gather(*(one() for _ in range(clients)))
    return _load(answers, cpu, started)


async def opened(send: Send, rate: float, seconds: float) -> Load:
    """`rate` calls a second, evenly spaced."""
    total = max(1, round(rate * seconds))
    cpu, started = time.process_time(), time.perf_counter()
    tasks = []
    for number in range(total):
        due = number / rate
        await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
        tasks.append(asyncio.create_task(_answered(send, number, due, started)))
    return _load(await asyncio.gather(*tasks), cpu, started)


async def _answered(send: Send, number: int, due: float, started: float) -> Answer:
    sent = time.perf_counter() - started
    try:
        await send(number)
        status = 200
    except InferenceServerException:
        status = NO_ANSWER
    return Answer(due, sent, time.perf_counter() - started - due, status, status == 200)


def _load(answers: list[Answer], cpu: float, started: float) -> Load:
    used = time.process_time() - cpu
    return Load(time.perf_counter() - started, answers, used / max(1, len(answers)))
