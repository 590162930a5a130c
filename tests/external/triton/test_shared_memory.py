"""Shared memory with a real Triton: the same vectors, and nothing left when either end is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.triton.client import TritonBackend
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.options import TritonOptions
from clipserve.engine.triton.shared_memory import SharedMemory
from clipserve.telemetry.metrics import Metrics
from clipserve_models.triton_options import options_of
from clipserve_models.triton_repository import write_repository
from tests.process import PATIENT_WITH_TRITON, Process, post

from .conftest import PATIENT, RUN, Triton

if TYPE_CHECKING:
    from clipserve.engine.backend import Pixels

MANIFEST = read_manifest(DEMO)
FOLDER = Path("/dev/shm")


@pytest.fixture(scope="module")
def sharing(triton_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("sharing")
    write_repository(DEMO, folder / "models", options_of(**PATIENT, instances=1))
    server = Triton(folder / "models", folder / "log.txt", shared_memory=True)
    server.start()
    server.wait_ready()
    yield server
    server.kill()


@asynccontextmanager
async def backend_on(
    triton: Triton, share_seconds: float = 60
) -> AsyncIterator[tuple[TritonBackend, Metrics]]:
    """`share_seconds`: for an answer about a region, a minute where a busy machine must not keep it from coming."""
    metrics = Metrics()
    options = TritonOptions([triton.url], deadline_seconds=60, share_seconds=share_seconds)
    backend = TritonBackend(MANIFEST, options, metrics)
    try:
        async with asyncio.timeout(300):
            await backend.start()
        yield backend, metrics
    finally:
        await backend.aclose()


def shared_bytes(metrics: Metrics, triton: Triton) -> float | None:
    labels = {"endpoint": triton.url, "model": MANIFEST.name}
    return metrics.registry.get_sample_value("clipserve_triton_shared_memory_bytes", labels)


async def asked(triton: Triton, method: str, **fields: Any) -> Any:
    """A method of Triton's that takes a message of the same name."""
    async with grpc.aio.insecure_channel(triton.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return await getattr(stub, method)(getattr(service_pb2, f"{method}Request")(**fields))


async def regions(triton: Triton) -> dict[str, int]:
    """Those that it has mapped, with their bytes."""
    answer = await asked(triton, "SystemSharedMemoryStatus")
    return {name: region.byte_size for name, region in answer.regions.items()}


def files_of(region: str) -> list[Path]:
    """What lies in the folder of the gateway that made a region. Other gateways have files there too."""
    return [*FOLDER.glob(f"*{region.partition('.')[0]}*")]


async def assert_nothing_stays(sharing: Triton) -> None:
    """What others could not unregister in time goes when the next one comes."""
    async with backend_on(sharing) as (backend, _):
        await backend.encode_image(noise(1))
        assert len(await regions(sharing)) == 1
    assert await regions(sharing) == {}


def noise(rows: int) -> Pixels:
    size = MANIFEST.image.size
    return np.random.default_rng(rows).integers(0, 256, (rows, size, size, 3), np.uint8)


async def test_vectors_are_those_of_a_call_that_carries_its_pixels(sharing: Triton, triton: Triton) -> None:
    async with backend_on(sharing) as (shared, metrics), backend_on(triton) as (sent, refused):
        for rows in (1, 2, 7, 8):
            pixels = noise(rows)
            assert (await shared.encode_image(pixels) == await sent.encode_image(pixels)).all()
        had = await regions(sharing)
        assert shared_bytes(metrics, sharing) == sum(had.values()) > 0
        assert shared_bytes(refused, triton) == 0, "the other Triton allows no shared memory"
    assert await regions(sharing) == {}
    assert not files_of(min(had))


async def test_a_triton_that_is_killed_gets_bytes_and_new_regions_when_it_is_back(sharing: Triton) -> None:
    async with backend_on(sharing) as (backend, metrics):
        expected = await backend.encode_image(noise(3))
        for change, is_ready in ((sharing.kill, False), (sharing.start, True)):
            await asyncio.to_thread(change)
            async with asyncio.timeout(300):
                while await backend.ready() != is_ready:
                    await asyncio.sleep(0.05)
        for _ in range(2):
            assert (await backend.encode_image(noise(3)) == expected).all()
        assert shared_bytes(metrics, sharing) == sum((await regions(sharing)).values()) > 0


async def test_a_triton_that_is_paused_while_it_is_told_of_a_region_keeps_none(sharing: Triton) -> None:
    """It is paused for twice the time that a registration has."""
    async with backend_on(sharing, share_seconds=1) as (backend, metrics):
        asking = asyncio.create_task(backend.encode_image(noise(1)))
        sharing.pause()
        await asyncio.sleep(2)
        sharing.resume()
        assert len(await asking) == 1
        counted = shared_bytes(metrics, sharing)
        assert counted is not None
        assert sum((await regions(sharing)).values()) <= counted
    await assert_nothing_stays(sharing)


async def test_regions_that_triton_maps_too_late_for_its_client_are_counted_and_go(sharing: Triton) -> None:
    """Triton takes some milliseconds: of 200 registrations with as long a deadline some are done unseen."""
    channel = Channel(sharing.url, [], {})

    async def mapped() -> int:
        """Bytes, on the same connection: what was asked there before has been done."""
        answer = await channel.ask("SystemSharedMemoryStatus", "", 60)
        return sum(region.byte_size for region in answer.regions.values())

    for seconds in (0.001, 0.002, 0.004, 0.006):
        hurried = SharedMemory(sharing.url, channel, seconds=seconds, again_seconds=0.0)
        before = await mapped()  # what the one before could not unregister in time
        for _ in range(50):
            if (region := await hurried.lend(noise(1), 1, 4)) is not None:
                hurried.forget(region, "so that the next is registered")
                await channel.ask("SystemSharedMemoryUnregister", region.name, 60)
            assert before + hurried.size >= await mapped()
        await hurried.aclose()
    await channel.aclose()
    await assert_nothing_stays(sharing)


async def test_of_a_gateway_that_is_killed_nothing_is_left_once_another_has_come(sharing: Triton) -> None:
    photo = (Path(__file__).parents[3] / "docs" / "cat.jpg").read_bytes()

    def embed(process: Process) -> Any:
        answer = post(f"{process.url}/embed", content=photo, headers={"content-type": "image/jpeg"})
        return answer.raise_for_status().json()["results"][0]["embedding"]

    first = Process(backend="triton", triton_url=sharing.url, **PATIENT_WITH_TRITON)
    first.wait_ready()
    vector = embed(first)
    left = await regions(sharing)
    assert left
    first.popen.kill()
    first.popen.wait(300)
    # Its owner's file, unless another gateway of this machine has removed that meanwhile.
    assert {path.name for path in files_of(min(left))} <= {min(left).partition(".")[0]}
    second = Process(backend="triton", triton_url=sharing.url, **PATIENT_WITH_TRITON)
    second.wait_ready()
    assert embed(second) == vector
    now = await regions(sharing)
    assert now
    assert not now.keys() & left.keys()
    assert second.stop()[0] == 0
    assert await regions(sharing) == {}
    assert not files_of(min(left)) + files_of(min(now))


@pytest.mark.nightly
async def test_pixels_in_shared_memory_take_at_most_half_of_the_cpu_time(
    triton_installed: None, tmp_path: Path
) -> None:
    """Of the gateway and the server, a row, in calls of 64 images; the model computes nothing.

    The Python backend hands the pixels on to a process of its own, at the same cost either way. It is left out: no
    other backend has one.
    """
    write_repository(DEMO, tmp_path / "models", options_of("python", max_batch_images=64))
    program = tmp_path / "models" / f"{MANIFEST.name}_image" / "1" / "model.py"
    nothing = f'embeddings = np.ones((len(rows["pixels"]), {MANIFEST.embed_dim}), np.float32)'
    assert RUN in program.read_text()
    program.write_text(program.read_text().replace(RUN, nothing))
    seconds: dict[bool, list[float]] = {True: [], False: []}
    pixels = noise(64)
    for shares in (True, False):
        room = "--backend-config=python,shm-default-byte-size=134217728"  # to the process of the model
        server = Triton(tmp_path / "models", tmp_path / "log.txt", room, shared_memory=shares)
        server.start()
        server.wait_ready()
        async with backend_on(server) as (backend, metrics):
            for _ in range(4):
                before = time.process_time() + server.cpu_seconds()
                for _ in range(5):
                    await asyncio.gather(*(backend.encode_image(pixels) for _ in range(4)))
                seconds[shares].append((time.process_time() + server.cpu_seconds() - before) / 1280)
            assert bool(shared_bytes(metrics, server)) is shares
        server.kill()
    # The least of the rounds: whatever else the machine does, and its waiting, only adds to it.
    shared, sent = (min(seconds[shares]) * 1000 for shares in (True, False))
    print(f"CPU ms a row: {shared:.3f} in shared memory, {sent:.3f} over gRPC, ratio {shared / sent:.2f}")
    assert shared <= sent / 2
