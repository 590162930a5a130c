"""Processes give the same pixels and errors as threads, and one that must be ended is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import resource
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipserve.application.decoding.decoders import Look, Result, Task
from clipserve.application.decoding.pool import DecoderProcesses
from clipserve.application.decoding.process import DecoderOptions
from clipserve.application.decoding.shared_file import shared_file
from clipserve.clip.images import ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.errors import (
    BackendUnavailable,
    ClipError,
    ImageTooLarge,
    UndecodableImage,
    UnsupportedFormat,
)
from clipserve.telemetry.metrics import Metrics
from tests.abuse.files import chunk, png_header
from tests.clip.test_images import GOLDEN, SPECS, encoded
from tests.support.service import png
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROOT = Path(__file__).parents[2]
SPEC, LIMITS = ImageSpec(size=32), ImageLimits()
SMALL = png(1)


@functools.cache
def large() -> bytes:
    """390 MB, and some tenths of a second; with so many bytes behind its end that it might be a photo."""
    return encoded(Image.new("RGB", (5_000, 4_900)), "WEBP", lossless=True) + bytes(500_000)


class Group:
    """One process, and what the metrics say of it."""

    def __init__(self, memory_bytes: int = 10**9, seconds: float = 60, most: int = 1, **options: Any) -> None:
        self.metrics = Metrics()
        self.processes = DecoderProcesses(
            most, DecoderOptions(memory_bytes, seconds, **options), self.metrics
        )

    async def look(
        self,
        image: bytes = SMALL,
        spec: ImageSpec = SPEC,
        limits: ImageLimits = LIMITS,
        room: int = 10**12,
    ) -> Look:
        """What a process found; raises errors."""
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.processes.start(Task(image, spec, limits, room), answer.set_result)
        result = await answer
        if isinstance(result, BaseException):
            raise result
        return result

    async def result(self, image: bytes = SMALL, spec: ImageSpec = SPEC, limits: ImageLimits = LIMITS) -> Any:
        """The pixels; raises errors."""
        return (await self.look(image, spec, limits)).pixels

    async def decode(self, image: bytes = SMALL) -> None:
        np.testing.assert_array_equal(await self.result(image), decode_pixels(image, SPEC, LIMITS))

    @property
    def pid(self) -> int:
        (process,) = self.processes.all
        return process.pid

    def replaced(self, reason: str) -> float:
        name = "clipserve_decoders_replaced_total"
        return self.metrics.registry.get_sample_value(name, {"reason": reason}) or 0


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Group]]:
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> Group:
            group = Group(**options)
            stack.callback(group.processes.close)
            return group

        yield start


@pytest.fixture
async def group(start: Callable[..., Group]) -> Group:
    return start()


def gone(pid: int) -> bool:
    """It has ended; a zombie has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("spec", SPECS)
async def test_pixels_are_those_of_a_thread_and_stay_so_when_the_next_image_is_decoded(
    group: Group, spec: str
) -> None:
    images = [path.read_bytes() for path in GOLDEN.glob("*.*") if path.suffix != ".json"]
    decoded = [await group.result(image, SPECS[spec]) for image in images]
    for image, pixels in zip(images, decoded, strict=True):
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, decode_pixels(image, SPECS[spec], LIMITS))


@pytest.mark.parametrize(
    ("image", "limits", "kind"),
    [
        (SMALL[:30], LIMITS, UndecodableImage),
        (b"", LIMITS, UnsupportedFormat),
        (b"%PDF-1.7", LIMITS, UnsupportedFormat),
        (png_header(8_000, 8_000) + chunk(b"IDAT"), LIMITS, ImageTooLarge),
        (SMALL, ImageLimits(max_pixels=1_199), ImageTooLarge),
        (SMALL, ImageLimits(image_formats=("JPEG", "WEBP")), UnsupportedFormat),
    ],
)
async def test_errors_are_those_of_a_thread(
    group: Group, image: bytes, limits: ImageLimits, kind: type[ClipError]
) -> None:
    with pytest.raises(kind) as expected:
        decode_pixels(image, SPEC, limits)
    for room in (0, 10**12):
        with pytest.raises(kind) as caught:
            await group.look(image, limits=limits, room=room)
        assert vars(caught.value) == vars(expected.value)
    await group.decode()
    assert (group.replaced("died"), group.replaced("late")) == (0, 0)


async def test_an_image_that_takes_more_than_its_room_is_not_decoded_but_measured(group: Group) -> None:
    header = read_header(SMALL, SPEC, LIMITS)
    assert await group.look(room=header.decode_bytes - 1) == Look(header, None)
    decoded = await group.look(room=header.decode_bytes)
    assert decoded.header == header
    np.testing.assert_array_equal(decoded.pixels, decode_pixels(SMALL, SPEC, LIMITS))


async def test_a_file_that_is_larger_than_the_shared_memory_is_refused(start: Callable[..., Group]) -> None:
    group = start(image_bytes=100_000)
    await group.decode(SMALL + bytes(100_000 - len(SMALL)))
    with pytest.raises(ImageTooLarge, match=r"has 100,001 bytes; the limit is 100,000\."):
        await group.decode(SMALL + bytes(100_001 - len(SMALL)))


async def test_large_files_and_pixels_leave_little_in_the_shared_memory(group: Group) -> None:
    def shared() -> int:
        """Bytes of the file that both map, in pages of up to 2 MB."""
        files = [path for path in Path(f"/proc/{group.pid}/fd").iterdir() if "memfd:" in os.readlink(path)]
        return sum(path.stat().st_blocks * 512 for path in files)

    await group.decode()
    assert shared() > 0
    await group.decode(SMALL + bytes(20_000_000))
    assert shared() < 4_000_000
    assert (await group.result(spec=ImageSpec(size=1_000))).shape == (1_000, 1_000, 3)
    assert shared() < 4_000_000


async def test_an_image_that_takes_too_much_time_ends_its_process_and_the_next_is_served(
    start: Callable[..., Group],
) -> None:
    group = start(seconds=0.05)  # of CPU time, of which a fast machine takes twice as much
    pid = group.pid
    with pytest.raises(ImageTooLarge, match=r"takes longer than the limit of 0\.05 s") as caught:
        await group.result(large())
    assert caught.value.limit == 0.05
    assert gone(pid)
    assert (group.replaced("late"), group.replaced("died")) == (1, 0)
    await group.decode()
    assert group.pid != pid


async def test_a_process_that_sleeps_is_ended_by_the_clock(start: Callable[..., Group]) -> None:
    group = start(seconds=0.1)
    await until(lambda: all(process.ready for process in group.processes.all))
    os.kill(group.pid, signal.SIGSTOP)
    with pytest.raises(ImageTooLarge, match="takes longer"):
        async with asyncio.timeout(30):  # it has 2 s, of which its start takes none
            await group.decode()
    assert group.replaced("late") == 1


async def test_the_clock_counts_from_the_present_image(start: Callable[..., Group]) -> None:
    group = start(seconds=0.2)  # so one that sleeps has 4 s
    for _ in range(6):
        await group.decode()
        await asyncio.sleep(0.8)
    assert group.replaced("late") == 0


async def test_an_image_that_takes_more_memory_than_one_may_is_refused(start: Callable[..., Group]) -> None:
    group = start(memory_bytes=10_000_000)
    with pytest.raises((ImageTooLarge, UndecodableImage)):
        await group.result(large())
    await group.decode()


async def test_a_process_that_died_while_idle_is_replaced_and_the_image_is_served(group: Group) -> None:
    await group.decode()
    pid = group.pid
    os.kill(pid, signal.SIGKILL)
    while not gone(pid):
        time.sleep(0.01)  # the event loop learns nothing of it
    await group.decode()
    await until(lambda: group.replaced("died") == 1)
    assert group.pid != pid


@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("then", ["connection.close()", "connection.sendall(b'?')"])
async def test_an_image_is_not_asked_of_a_process_that_is_at_its_end(
    start: Callable[..., Group], tmp_path: Path, then: str, turns: int
) -> None:
    """It answers once, and closes its channel or says nonsense; the service has heard of it or not."""
    at_its_end = tmp_path / "at its end"
    program = f"""
memory = mmap.mmap(int(sys.argv[2]), 0)
with socket.socket(fileno=os.dup(0)) as connection:
    os.close(0)
    connection.sendall(ready)
    connection.recv(65536)
    memory[:1] = b'7'
    connection.sendall(struct.pack('!BIQQ', 0, {3 * SPEC.size**2}, 0, 0))
    {then}
    open({str(at_its_end)!r}, "w")
    time.sleep(60)
"""
    group = taken_over(start, program)
    for _ in range(3):
        assert (await group.result())[0, 0, 0] == ord("7")
        while not at_its_end.exists():
            time.sleep(0.001)  # the event loop learns nothing of it
        at_its_end.unlink()
        if "close" not in then or turns:
            await asyncio.sleep(0)


async def test_an_image_for_which_there_is_no_memory_is_not_blamed(group: Group) -> None:
    image = encoded(Image.effect_noise((1_500, 1_500), 100), "PNG")
    assert len(image) > 2_000_000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))  # a write beyond it is short
    try:
        with pytest.raises(BackendUnavailable, match="could not be started"):
            await group.decode(image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await group.decode(image)


async def test_an_image_whose_process_dies_is_an_error_and_the_next_is_served(group: Group) -> None:
    await group.decode()
    os.kill(group.pid, signal.SIGSTOP)
    job = asyncio.create_task(group.decode())
    await asyncio.sleep(0)  # it is asked; were it killed earlier, it would be replaced first
    os.kill(group.pid, signal.SIGKILL)
    with pytest.raises(UndecodableImage, match="the decoder ended at this image"):
        await job
    assert group.replaced("died") == 1
    await group.decode()


@pytest.mark.parametrize("busy", [True, False])
async def test_nothing_keeps_the_memory_of_a_process_that_has_ended(group: Group, busy: bool) -> None:
    await group.decode()
    process = weakref.ref(next(iter(group.processes.all)))
    os.kill(group.pid, signal.SIGSTOP)
    if busy:
        job = asyncio.create_task(group.decode())
        await asyncio.sleep(0)
    os.kill(group.pid, signal.SIGKILL)
    await until(lambda: group.replaced("died") == 1)
    if busy:
        assert isinstance(await asyncio.gather(job, return_exceptions=True), list)
        del job
    gc.collect()
    assert process() is None


async def test_pillow_s_own_limit_of_pixels_is_none_there(group: Group) -> None:
    limits = ImageLimits(max_pixels=10**9, max_pixels_per_byte=10**9)
    image = png_header(13_400, 13_400) + chunk(b"IDAT")
    assert (await group.look(image, limits=limits, room=0)).header.pixels == 13_400**2


async def test_signals_of_the_terminal_and_of_a_supervisor_do_not_end_it(group: Group) -> None:
    await group.decode()
    pid = group.pid
    for signum in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, signum)
    await group.decode()
    assert group.pid == pid


async def test_a_decoder_has_no_secret_in_its_environment_and_may_be_killed_first(
    start: Callable[..., Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CLIPSERVE_TRITON_TOKEN", "OTEL_EXPORTER_OTLP_HEADERS", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    group = start(memory_bytes=10**8)
    await group.decode()
    proc = Path(f"/proc/{group.pid}")
    environment = (proc / "environ").read_bytes()
    assert b"secret" not in environment
    assert f"PYTHONPATH={ROOT}\0".encode() in environment
    assert (proc / "oom_score_adj").read_text() == "1000\n"
    core, space = (
        next(line for line in (proc / "limits").read_text().splitlines() if name in line).split()
        for name in ("core file size", "address space")
    )
    assert core[4:6] == ["0", "0"]
    assert 228_000_000 + 64_000_000 < int(space[3]) < 500_000_000, "the shared memory counts, too"


async def test_several_are_used_at_the_same_time(start: Callable[..., Group]) -> None:
    group = start(most=2)
    for _ in range(20):
        await asyncio.gather(group.decode(), group.decode())
    assert len(group.processes.all) == 2


async def test_the_end_waits_for_none_of_them(group: Group) -> None:
    await group.decode()
    pid = group.pid
    os.kill(pid, signal.SIGSTOP)
    job = asyncio.create_task(group.decode())
    await asyncio.sleep(0)
    group.processes.close()
    assert gone(pid)
    for waits in (job, group.decode()):
        with pytest.raises(BackendUnavailable, match="shutting down"):
            await waits
    assert not group.processes.all


def test_decoders_end_with_the_service_even_if_that_is_killed() -> None:
    script = """
import asyncio, os, signal
from clipserve.application.decoding.process import DecoderOptions
from clipserve.application.decoding.pool import DecoderProcesses
from clipserve.telemetry.metrics import Metrics
async def main():
    processes = DecoderProcesses(2, DecoderOptions(10**9, 60), Metrics())
    while not all(process.ready for process in processes.all):
        await asyncio.sleep(0.01)
    for process in processes.all:
        print(process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert (len(pids), done.returncode) == (2, -signal.SIGKILL)
    for pid in pids:
        while not gone(pid):
            time.sleep(0.01)


async def test_a_decoder_that_cannot_be_started_is_told(start: Callable[..., Group]) -> None:
    with pytest.raises(BackendUnavailable, match="could not be started"):
        start(command=("/no/such/python",))


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("pass", BackendUnavailable),
        ("answer(b'?')", BackendUnavailable),
        ("answer(struct.pack('!BIQQ', 0, 3072, 0, 0))", BackendUnavailable),
        ("answer(ready + struct.pack('!BIQQ', 0, 7, 0, 0))", UndecodableImage),
        ("answer(ready + struct.pack('!BIQQ', 0, 10**9, 0, 0))", UndecodableImage),
        ("answer(ready + struct.pack('!BIQQ', 7, 3072, 0, 0))", UndecodableImage),
        ("answer(ready + struct.pack('!BIQQ', 1, 10**9, 0, 0))", UndecodableImage),
        ("answer(ready + struct.pack('!BIQQ', 2, 16, 0, 0))", UndecodableImage),
        ("answer(ready + struct.pack('!BIQQ', 1, 2, 0, 0))", UndecodableImage),
        ("answer(ready + struct.pack('!BIQQ', 1, 16, 0, 0), b'{\"code\": \"evil\"}')", UndecodableImage),
        ("answer(ready + ready)", UndecodableImage),
    ],
)
async def test_what_a_process_that_was_taken_over_may_answer_is_an_error_of_its_image(
    start: Callable[..., Group], program: str, error: type[ClipError]
) -> None:
    group = taken_over(start, program)
    with pytest.raises(error):
        await group.decode()
    assert group.replaced("died") >= 1


async def test_a_process_that_was_taken_over_cannot_take_the_shared_memory_away(
    start: Callable[..., Group],
) -> None:
    program = f"""
for size in (0, 10**9):
    try:
        os.ftruncate(int(sys.argv[2]), size)
    except PermissionError:
        continue
    raise SystemExit("the size changed")
answer(ready + struct.pack('!BIQQ', 0, {3 * SPEC.size**2}, 0, 0), b'7')
"""
    pixels = await taken_over(start, program).result()
    assert pixels[0, 0].tolist() == [ord("7"), 0, 0]


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_shared_memory_is_a_file_of_zeros_on_each_system(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    with shared_file(5_000) as file:
        os.pwrite(file.fileno(), b"7", 9)
        assert file.read() == bytes(9) + b"7" + bytes(4_990)


def taken_over(start: Callable[..., Group], program: str) -> Group:
    """A process that answers in the channel, and writes into the shared memory, what the program says."""
    script = f"""
import mmap, os, socket, struct, sys, time
ready = struct.pack('!BIQQ', 3, 0, 0, 0)
def answer(data, shared=b''):
    memory = mmap.mmap(int(sys.argv[2]), 0)
    memory[:] = shared.ljust(len(memory), b'\\0')
    with socket.socket(fileno=0) as connection:
        connection.sendall(data)
        while connection.recv(65536): pass
{program}
"""
    return start(command=(sys.executable, "-c", script), image_bytes=1_000_000)
