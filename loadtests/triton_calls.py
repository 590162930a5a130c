"""What a call to Triton costs its client, as the service makes it and as NVIDIA's library makes it.

Both call the same fake Triton and take turns. With `--channels` the service's way over several connections takes
turns with one connection: gRPC gives channels that have the same arguments one connection, others their own.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from tritonclient.grpc import InferInput, InferRequestedOutput

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.contract import Tower, inputs, output, triton_model
from clipserve.engine.triton.message import message
from loadtests.process import fake_triton
from loadtests.report import table

_BIG = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
_SECONDS = 60.0
_TOKENS = 16

Ask = Callable[[Channel], Awaitable[object]]


@dataclass(frozen=True)
class Turn:
    """`cpu`: seconds of this process a call. `rate`: rows a second."""

    cpu: float
    rate: float


def triton_calls(
    artifact: Annotated[Path, typer.Argument(help="It is served as one of arithmetic.")] = Path(
        "service/clipserve/demo"
    ),
    seconds: Annotated[float, typer.Option(help="Of each turn.")] = 0.5,
    rounds: Annotated[int, typer.Option(help="Print the medians of so many.")] = 9,
    in_flight: Annotated[int, typer.Option(help="Calls at a time.")] = 4,
    channels: Annotated[int, typer.Option(help="The most connections.")] = 4,
) -> None:
    """CPU and memory of a call to Triton: the service's way beside tritonclient's, and over several connections."""
    with fake_triton(artifact) as triton:
        manifest = read_manifest(triton.artifact)
        rows = asyncio.run(_all(triton.url, manifest, seconds, rounds, in_flight, channels))
    head = ("a call of", "way", "CPU ms", "times tritonclient", "rows/s", "times one connection", "peak MB")
    typer.echo(table(head, rows))


async def _all(
    url: str, manifest: ModelManifest, seconds: float, rounds: int, in_flight: int, channels: int
) -> list[list[str]]:
    sets = {
        f"{count} connection{'s' * (count > 1)}": [
            Channel(url, [*_BIG, ("clipserve.number", number)]) for number in range(count)
        ]
        for count in (1, 2, 4)
        if count <= channels
    }
    rows = []
    for name, tower, arrays in _loads(manifest):
        own = _own(manifest, tower, arrays)
        ways = {"tritonclient": (_library(manifest, tower, arrays), sets["1 connection"])}
        ways |= {each: (own, connections) for each, connections in sets.items()}
        turns: dict[str, list[Turn]] = {each: [] for each in ways}
        for number in range(rounds + 1):  # the first is to warm up
            for each, (ask, connections) in ways.items() if number % 2 else reversed(ways.items()):
                turn = await _turn(ask, connections, len(arrays[0]), seconds, in_flight)
                turns[each] += [turn] * (number > 0)
        for each, (ask, connections) in ways.items():
            peak = await _peak(ask, connections[0])
            rows.append([name, each, *_medians(turns, each), f"{peak / 1e6:.1f}"])
    for connections in sets.values():
        for connection in connections:
            await connection.aclose()
    return rows


def _loads(manifest: ModelManifest) -> list[tuple[str, Tower, tuple[npt.NDArray[Any], ...]]]:
    size, noise = manifest.image.size, np.random.default_rng(0)
    loads: list[tuple[str, Tower, tuple[npt.NDArray[Any], ...]]] = [
        (
            f"{rows} image{'s' * (rows > 1)}",
            "image",
            (noise.integers(0, 256, (rows, size, size, 3), np.uint8),),
        )
        for rows in (1, 8, 64)
    ]
    texts = np.ones((64, _TOKENS), np.int32), np.full(64, _TOKENS, np.int32)
    return [*loads, (f"64 texts of {_TOKENS} tokens", "text", texts)]


def _own(manifest: ModelManifest, tower: Tower, arrays: tuple[npt.NDArray[Any], ...]) -> Ask:
    model, tensors = triton_model(manifest, tower), inputs(manifest, tower)

    async def ask(connection: Channel) -> object:
        sent = message(model, output(manifest).name, tensors, arrays, int(_SECONDS * 1e6))
        return (await connection.infer(sent, _SECONDS, headers={})).as_numpy(output(manifest).name)

    return ask


def _library(manifest: ModelManifest, tower: Tower, arrays: tuple[npt.NDArray[Any], ...]) -> Ask:
    model, tensors = triton_model(manifest, tower), inputs(manifest, tower)

    async def ask(connection: Channel) -> object:
        made = []
        for tensor, array in zip(tensors, arrays, strict=True):
            shaped = array if tensor.graph_dims is None else array.reshape(len(array), *tensor.dims)
            made.append(InferInput(tensor.name, list(shaped.shape), tensor.data_type.removeprefix("TYPE_")))
            made[-1].set_data_from_numpy(shaped)
        wanted = [InferRequestedOutput(output(manifest).name)]
        times = {"timeout": int(_SECONDS * 1e6), "client_timeout": _SECONDS}
        answer = await connection.client.infer(model, made, outputs=wanted, **times)
        return answer.as_numpy(output(manifest).name)

    return ask


async def _turn(ask: Ask, connections: list[Channel], rows: int, seconds: float, in_flight: int) -> Turn:
    began, cpu, calls = time.perf_counter(), time.process_time(), 0

    async def client(connection: Channel) -> None:
        nonlocal calls
        while time.perf_counter() - began < seconds:
            await ask(connection)
            calls += 1

    await asyncio.gather(*(client(connections[number % len(connections)]) for number in range(in_flight)))
    lasted = time.perf_counter() - began
    return Turn((time.process_time() - cpu) / calls, calls * rows / lasted)


async def _peak(ask: Ask, connection: Channel) -> int:
    """Bytes that Python held at the most, for one call; those of gRPC are not among them."""
    tracemalloc.start()
    try:
        await ask(connection)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _medians(turns: dict[str, list[Turn]], way: str) -> list[str]:
    """Medians of a way, and of each round's own ratios."""
    own, library, one = turns[way], turns["tritonclient"], turns["1 connection"]
    times = statistics.median(theirs.cpu / mine.cpu for mine, theirs in zip(own, library, strict=True))
    faster = statistics.median(mine.rate / theirs.rate for mine, theirs in zip(own, one, strict=True))
    cpu = statistics.median(turn.cpu for turn in own)
    rate = statistics.median(turn.rate for turn in own)
    return [f"{1000 * cpu:.2f}", f"{times:.2f}", f"{rate:,.0f}", f"{faster:.2f}"]
