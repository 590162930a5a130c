"""Pixels in shared memory: with a server that maps regions as Triton does, and with those that cannot."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import mmap
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from tritonclient.grpc import service_pb2

from clipserve.engine.triton import region as regions
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.shared_memory import SharedMemory
from clipserve.errors import BackendUnavailable, Overloaded
from tests.commands.doctor.asking import doctor
from tests.triton.backends import Backend, backend_on, sent
from tests.triton.stand_in import MANIFEST, StandIn, standing_in
from tests.waiting import until

SIZE = MANIFEST.image.size


class Sharing(StandIn):
    """It maps the regions that it is told of, and answers with the first value of each row's pixels.

    Attributes:
        regions: those that are registered.
        sizes: bytes of pixels in the message of each call.
        unregistered: regions that are no more.
        registering, unregistering: cleared, these are done and not answered.
        telling: cleared, it does not say which regions it has.
        in_use: so many unregistrations are refused.
    """

    in_use = 0

    def __init__(self) -> None:
        super().__init__()
        self.regions: dict[str, mmap.mmap] = {}
        self.sizes: list[int] = []
        self.unregistered: list[str] = []
        self.registering, self.unregistering, self.telling = (asyncio.Event() for _ in range(3))
        for event in (self.registering, self.unregistering, self.telling):
            event.set()

    async def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        with (regions.FOLDER / request.key.removeprefix("/")).open("r+b") as file:
            self.regions[request.name] = mmap.mmap(file.fileno(), request.byte_size)
        await self.registering.wait()
        return service_pb2.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.unregistering.wait()
        if self.in_use:
            self.in_use -= 1
            await context.abort(grpc.StatusCode.INTERNAL, "Cannot unregister it, it is currently in use.")
        self.regions.pop(request.name, None)
        self.unregistered.append(request.name)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    async def SystemSharedMemoryStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.telling.wait()
        answer = service_pb2.SystemSharedMemoryStatusResponse()
        for name in self.regions:
            answer.regions[name].name = name
        return answer

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.sizes.append(sum(map(len, request.raw_input_contents)))
        pixels = await self._pixels(request.inputs[0], request.raw_input_contents, context)
        await super().ModelInfer(request, context)
        vectors = np.repeat(pixels[:, :1].astype(np.float32), self.dim, axis=1)
        output = service_pb2.ModelInferResponse.InferOutputTensor(
            name=self.output, datatype="FP32", shape=vectors.shape
        )
        return service_pb2.ModelInferResponse(outputs=[output], raw_output_contents=[vectors.tobytes()])

    async def _pixels(self, told: Any, contents: Any, context: Any) -> npt.NDArray[np.uint8]:
        """uint8 [N, S * S * 3]."""
        memory: Any = contents[0] if contents else None
        if memory is None:
            name = told.parameters["shared_memory_region"].string_param
            if name not in self.regions:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"Unable to find region '{name}'")
            memory = self.regions[name][: told.parameters["shared_memory_byte_size"].int64_param]
        return np.frombuffer(memory, np.uint8).reshape(told.shape[0], -1)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder in place of /dev/shm, which other tests use too. After the test it is empty."""
    monkeypatch.setattr(regions, "FOLDER", tmp_path)
    yield tmp_path
    assert not [*tmp_path.iterdir()]


@pytest.fixture
async def sharing() -> AsyncIterator[Sharing]:
    async with standing_in(made=(server := Sharing())):
        yield server
        for event in (server.registering, server.unregistering, server.telling):
            event.set()


def rows(*values: int) -> npt.NDArray[np.uint8]:
    """Pixels of as many rows, each of one value."""
    return np.stack([np.full((SIZE, SIZE, 3), value, np.uint8) for value in values])


async def firsts(backend: Backend, *values: int) -> list[float]:
    return [float(vector[0]) for vector in await backend.encode_image(rows(*values))]


def shared_bytes(backend: Backend, server: StandIn) -> float | None:
    labels = {"endpoint": server.url, "model": MANIFEST.name}
    return backend.counted.registry.get_sample_value("clipserve_triton_shared_memory_bytes", labels)


async def test_pixels_are_read_from_a_region_and_not_from_the_message(sharing: Sharing, folder: Path) -> None:
    async with backend_on(sharing) as backend:
        assert await firsts(backend, 7, 8, 9) == [7, 8, 9]
        assert await firsts(backend, 200) == [200]
        assert sharing.sizes == [0, 0]
        assert len(sharing.regions) == 1, "a region that is free is used again"
        assert shared_bytes(backend, sharing) == len(next(iter(sharing.regions.values())))
        (lock,) = folder.iterdir()
        assert lock.stat().st_size == 0, "the file of the region is gone"
    assert not sharing.regions, "who leaves unregisters what is his"


async def test_a_region_of_which_triton_still_lets_go_at_the_end_is_unregistered_again(
    sharing: Sharing,
) -> None:
    """It answers a call, and refuses for some milliseconds after that."""
    async with backend_on(sharing) as backend:
        assert await firsts(backend, 7) == [7]
        sharing.in_use = 3
    assert not sharing.regions


async def test_calls_at_a_time_have_a_region_each_and_one_too_many_has_none(sharing: Sharing) -> None:
    async with backend_on(sharing) as backend:
        sharing.answering.clear()
        asking = [asyncio.create_task(firsts(backend, value)) for value in range(5)]
        await sent(sharing, 5)
        sharing.answering.set()
        assert await asyncio.gather(*asking) == [[0], [1], [2], [3], [4]]
        assert sorted(sharing.sizes) == [0, 0, 0, 0, SIZE * SIZE * 3]


async def test_the_region_of_a_call_that_is_taken_back_serves_the_next(sharing: Sharing) -> None:
    async with backend_on(sharing) as backend:
        sharing.answering.clear()
        asking = asyncio.create_task(firsts(backend, 1))
        await sent(sharing, 1)
        asking.cancel()
        await until(lambda: sharing.cancelled == 1)
        sharing.answering.set()
        assert await firsts(backend, 2) == [2]
        assert len(sharing.regions) == 1


async def test_a_server_that_knows_no_region_any_more_gets_bytes_and_then_a_new_region(
    sharing: Sharing,
) -> None:
    async with backend_on(sharing) as backend:
        await firsts(backend, 1)
        sharing.regions.clear()
        assert await firsts(backend, 2) == [2]
        assert await firsts(backend, 3) == [3]
        assert sharing.sizes == [0, 0, SIZE * SIZE * 3, 0]


async def test_a_server_that_has_lost_its_model_alone_still_has_its_regions(sharing: Sharing) -> None:
    """It says NOT_FOUND, as one that was restarted and knows no region."""
    async with backend_on(sharing) as backend:
        await firsts(backend, 1)
        (region,) = sharing.regions
        sharing.failure = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'demo_image' is not found")
        with pytest.raises(BackendUnavailable):
            await firsts(backend, 2)
        assert shared_bytes(backend, sharing) == len(sharing.regions[region])
        sharing.failure = None
        await until(lambda: bool(backend.up(sharing.url)))
        assert await firsts(backend, 3) == [3]
        assert [*sharing.regions] == [region]
    assert not sharing.regions


@pytest.mark.parametrize("count", [3, 64])  # on the event loop, and in the thread
async def test_rows_that_lie_apart_are_written_into_a_region_one_after_the_other(
    sharing: Sharing, count: int
) -> None:
    async with backend_on(sharing) as backend:
        vectors = await backend.encode_image([*rows(*range(count))])
        assert vectors[:, 0].tolist() == [*range(count)]
        assert sharing.sizes == [0]


async def test_a_region_that_is_written_for_a_caller_who_leaves_is_lent_again_only_after_that(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, begun, written = regions.Region.write, threading.Event(), threading.Event()

    def late(region: regions.Region, pixels: Any) -> None:
        begun.set()
        written.wait(60)
        write(region, pixels)

    async with backend_on(sharing) as backend:
        await firsts(backend, 1)
        monkeypatch.setattr(regions.Region, "write", late)
        leaving = asyncio.create_task(firsts(backend, *[2] * 64))
        await until(begun.is_set)
        leaving.cancel()
        await asyncio.wait([leaving])
        monkeypatch.setattr(regions.Region, "write", write)
        assert await firsts(backend, 3) == [3]
        written.set()
        assert await firsts(backend, 4) == [4]
        assert len(sharing.regions) == 2, "the first was not free yet"


async def test_another_error_is_the_call_s_own(sharing: Sharing) -> None:
    async with backend_on(sharing) as backend:
        sharing.failure = (grpc.StatusCode.UNAVAILABLE, "[request id: 1] Exceeds maximum queue size")
        with pytest.raises(Overloaded):
            await firsts(backend, 1)
        assert len(sharing.sizes) == 1


async def test_a_server_that_shares_nothing_is_sent_bytes_and_not_asked_again_at_once(one: StandIn) -> None:
    async with backend_on(one) as backend:
        one.value = 5
        assert await firsts(backend, 1) == [5]
        assert await firsts(backend, 1) == [5]
        assert shared_bytes(backend, one) == 0


async def test_where_there_is_no_such_folder_pixels_are_sent(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(regions, "FOLDER", folder / "none")
    async with backend_on(sharing) as backend:
        assert await firsts(backend, 1) == [1]
        assert sharing.sizes == [SIZE * SIZE * 3]


def killed(folder: Path) -> str:
    """The name of an owner whose file is there, and unlocked."""
    owner = regions.Owner()
    owner.close()
    (folder / owner.name).touch()
    return owner.name


async def test_what_a_killed_gateway_left_is_unregistered(sharing: Sharing, folder: Path) -> None:
    dead, alive = killed(folder), killed(folder)
    (folder / f"{dead}.2").write_bytes(b"a region that was on its way")
    sharing.regions |= {f"{name}.1": mmap.mmap(-1, 4096) for name in (dead, alive)}
    with (folder / alive).open("r+b") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        async with backend_on(sharing) as backend:
            await firsts(backend, 1)
            assert sharing.unregistered == [f"{dead}.1"]
            assert not [*folder.glob(f"{dead}*")]
            assert f"{alive}.1" in sharing.regions
        (folder / alive).unlink()


@pytest.mark.parametrize("calls", [1, 2], ids=["at the end", "with the next region"])
async def test_what_triton_still_reads_of_a_killed_gateway_goes_later(
    sharing: Sharing, folder: Path, calls: int
) -> None:
    left = f"{killed(folder)}.1"
    sharing.regions[left] = mmap.mmap(-1, 4096)
    sharing.in_use = 1
    async with backend_on(sharing) as backend:
        assert await firsts(backend, 1) == [1]
        assert left in sharing.regions
        assert await asyncio.gather(*(firsts(backend, 1) for _ in range(calls))) == [[1]] * calls
        assert (left in sharing.regions) is (calls == 1)
    assert not sharing.regions


class Direct(Channel):
    """Asks a server in this process, which hears each question before the time for it has run out."""

    def __init__(self, server: Sharing) -> None:
        super().__init__(server.url, [], {})
        self._server = server

    async def ask(self, method: str, name: str, seconds: float | None = None, **fields: str | int) -> Any:
        question = getattr(service_pb2, f"{method}Request")(name=name, **fields)
        try:
            async with asyncio.timeout(seconds):
                return await getattr(self._server, method)(question, None)
        except TimeoutError:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, nothing, nothing) from None


@asynccontextmanager
async def memory_on(server: Sharing) -> AsyncIterator[SharedMemory]:
    """It waits a twentieth of a second for the server, and tries again at once."""
    channel = Direct(server)
    memory = SharedMemory(server.url, channel, seconds=0.05, again_seconds=0.0)
    yield memory
    await memory.aclose()
    await channel.aclose()


async def test_a_region_whose_registration_is_not_answered_goes_before_the_next_comes(
    sharing: Sharing,
) -> None:
    async with memory_on(sharing) as memory:
        sharing.registering.clear()
        for _ in range(3):
            assert await memory.lend(rows(1), 1, 4) is None
        assert (len(sharing.regions), len(sharing.unregistered)) == (1, 2)
        sharing.registering.set()
        region = await memory.lend(rows(1), 1, 4)
        assert region is not None
        assert [*sharing.regions] == [region.name]
    assert not sharing.regions


async def test_regions_without_an_answer_count_among_those_of_the_server(sharing: Sharing) -> None:
    async with memory_on(sharing) as memory:
        sharing.registering.clear()
        sharing.unregistering.clear()
        assert await asyncio.gather(*(memory.lend(rows(1), 1, 4) for _ in range(4))) == [None] * 4
        assert memory.size == 4 * rows(1).nbytes == sum(map(len, sharing.regions.values()))
        assert await memory.lend(rows(1), 1, 4) is None
        assert len(sharing.regions) == 4, "one more was registered"
        sharing.registering.set()
        sharing.unregistering.set()
        assert await memory.lend(rows(1), 1, 4) is not None
        assert memory.size == rows(1).nbytes


async def test_a_region_whose_registration_is_cancelled_is_unregistered_too(sharing: Sharing) -> None:
    async with memory_on(sharing) as memory:
        sharing.registering.clear()
        lending = asyncio.create_task(memory.lend(rows(1), 1, 4))
        await until(lambda: bool(sharing.regions))
        lending.cancel()
        await asyncio.wait([lending])
        assert memory.size == rows(1).nbytes
    assert not sharing.regions


async def test_a_region_that_is_being_registered_at_the_end_goes_and_the_next_gateway_looks_again(
    sharing: Sharing,
) -> None:
    sharing.registering.clear()
    channel = Channel(sharing.url, [], {})
    memory = SharedMemory(sharing.url, channel, seconds=60)
    lending = asyncio.create_task(memory.lend(rows(1), 1, 4))
    await until(lambda: bool(sharing.regions))
    (name,) = sharing.regions
    await memory.aclose()
    assert sharing.unregistered == [name]
    lending.cancel()
    await asyncio.wait([lending])
    await channel.aclose()
    sharing.registering.set()
    sharing.regions[name] = mmap.mmap(-1, 4096)  # as if it had been mapped only after that
    async with memory_on(sharing) as following:
        assert await following.lend(rows(1), 1, 4) is not None
        assert name not in sharing.regions


@pytest.mark.parametrize(("free", "told"), [(10**9, ""), (10**6, "has 1 MB of the 15 MB needed")])
async def test_a_folder_that_is_too_small_for_all_calls_is_told(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch, free: int, told: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    async with memory_on(sharing) as memory:
        assert await memory.lend(rows(1), 1, calls=1 + 15_000_000 // rows(1).nbytes) is not None
        assert told in memory.reason
        assert bool(memory.reason) is bool(told)
        assert not memory.full


@pytest.mark.parametrize(
    ("code", "told"),
    [(errno.ENOSPC, "has 1 MB of the 15 MB needed"), (errno.EACCES, "Permission denied")],
)
async def test_a_region_that_cannot_be_made_tells_why(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch, code: int, told: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    monkeypatch.setattr(os, "posix_fallocate", refused)
    async with memory_on(sharing) as memory:
        assert await memory.lend(rows(1), 1, calls=15_000_000 // rows(1).nbytes) is None
        assert told in memory.reason
        assert memory.full is (code == errno.ENOSPC)


@pytest.mark.parametrize("free", [10**9, 10**6])
async def test_the_doctor_warns_where_there_is_too_little_for_all_calls(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    told = await asyncio.to_thread(doctor, "--only", "triton", backend="triton", triton_url=sharing.url)
    warnings = [line["found"] for line in told.lines("warning")]
    assert len(warnings) == (free < 4 * 64 * SIZE**2 * 3)
    if warnings:
        assert (
            f"too little for 4 calls x 64 images x {SIZE}^2 x 3 bytes: {regions.FOLDER} has 1 MB"
            in warnings[0]
        )
    assert not sharing.regions


async def test_what_is_left_of_a_killed_gateway_goes_from_each_triton(sharing: Sharing, folder: Path) -> None:
    """Whichever is asked first: its gateway removes the file that the dead one had, with all Tritons."""
    dead = killed(folder)
    another = Sharing()
    for server in (another, sharing):
        server.regions[f"{dead}.1"] = mmap.mmap(-1, 4096)
    for server in (another, sharing):
        async with memory_on(server) as memory:
            assert await memory.lend(rows(1), 1, 4) is not None
            assert f"{dead}.1" not in server.regions


async def test_a_triton_that_does_not_tell_its_regions_in_time_is_asked_for_them_again(
    sharing: Sharing, folder: Path
) -> None:
    left = f"{killed(folder)}.1"
    sharing.regions[left] = mmap.mmap(-1, 4096)
    async with memory_on(sharing) as memory:
        sharing.telling.clear()
        assert await memory.lend(rows(1), 1, 4) is None
        sharing.telling.set()
        assert await memory.lend(rows(1), 1, 4) is not None
        assert left not in sharing.regions


async def test_a_gateway_of_another_machine_unregisters_nothing_here(
    sharing: Sharing, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ask one Triton; of the two it shares a folder with one alone."""
    async with memory_on(sharing) as memory:
        region = await memory.lend(rows(1), 1, 4)
        assert region is not None
        (folder / "elsewhere").mkdir()
        with monkeypatch.context() as there:
            there.setattr(regions, "FOLDER", folder / "elsewhere")
            async with memory_on(sharing) as other:
                await other.lend(rows(1), 1, 4)
                assert region.name in sharing.regions
        (folder / "elsewhere").rmdir()


async def test_regions_that_could_not_be_unregistered_go_with_the_next_gateway(sharing: Sharing) -> None:
    sharing.registering.clear()
    sharing.unregistering.clear()
    async with memory_on(sharing) as memory:
        await memory.lend(rows(1), 1, 4)
    assert len(sharing.regions) == 1
    sharing.registering.set()
    sharing.unregistering.set()
    async with memory_on(sharing) as memory:
        region = await memory.lend(rows(1), 1, 4)
        assert region is not None
        assert [*sharing.regions] == [region.name]
