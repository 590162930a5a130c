"""What a failed request held is freed with it. What is in a cycle waits for the garbage collector, which counts
objects, not bytes: a hundred clients who left would each keep a body and its pixels in memory."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import CoroutineType, FrameType

import pytest

from clipserve.engine.backend import Backend
from clipserve.errors import BackendFailed
from loadtests.fake_backend import FakeBackend
from tests.engine.support import batched
from tests.rest.gated import Delayed
from tests.support.service import DIM, Running, eventually, form, png, serving

SERVICE = str(Path(__file__).parents[2] / "service/clipserve")


class Failing(Delayed):
    """Raises `error` in place of an answer; without one it does not answer at all."""

    error: Exception | None = None
    failing = False
    hanging = 0

    async def before(self) -> None:
        if not self.failing:
            return
        if self.error is None:
            self.hanging += 1
            try:
                await asyncio.sleep(3600)
            finally:
                self.hanging -= 1
        else:
            raise type(self.error)(*self.error.args)


def left_in_cycles() -> Counter[str]:
    """Functions of the service whose frames only the garbage collector would free."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
    finally:
        gc.set_debug(0)
    codes = [
        each.f_code if isinstance(each, FrameType) else each.cr_code
        for each in gc.garbage
        if isinstance(each, FrameType | CoroutineType)
    ]
    gc.garbage.clear()
    return Counter(code.co_qualname for code in codes if code.co_filename.startswith(SERVICE))


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The collector looks when it is asked to, and at what the test has made: others are a million."""
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


async def embeds(running: Running, _: Failing) -> None:
    await running.embed(png(1), png(2), text=["one", "another of another length"])


async def classifies(running: Running, _: Failing) -> None:
    await running.classify(png(1), png(2), labels=["cat", "dog"])


async def leaves(running: Running, backend: Failing) -> None:
    before = total(running, "clipserve_requests_total")
    asking = [asyncio.create_task(ask(running, backend)) for ask in (embeds, classifies)]
    await eventually(
        lambda: (
            all(task.done() for task in asking)
            or (total(running, "clipserve_rows_in_flight") == 8 and backend.hanging > 0)
        )
    )
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    # Answered, or given up because the client left.
    await eventually(
        lambda: total(running, "clipserve_requests_total") == before + 2 and backend.hanging == 0
    )


def total(running: Running, name: str) -> float:
    """The sum of all series of this metric."""
    families = running.gateway.metrics.registry.collect()
    return sum(each.value for family in families for each in family.samples if each.name == name)


@pytest.mark.parametrize("wrap", [lambda backend: backend, batched], ids=["bare", "batched"])
@pytest.mark.parametrize("ask", [embeds, classifies, leaves])
@pytest.mark.parametrize("error", [BackendFailed("x"), RuntimeError("x"), None])
async def test_nothing_of_a_failed_request_is_left_in_a_cycle(
    toy: Path,
    no_collector: None,
    wrap: Callable[[Backend], Backend],
    ask: Callable[[Running, Failing], Awaitable[None]],
    error: Exception | None,
) -> None:
    backend = Failing()
    backend.error = error
    async with serving(wrap(backend), toy, deadline_seconds=0.15) as running:
        backend.failing = True
        await ask(running, backend)
        left_in_cycles()  # of the first request, which sets things up
        for _ in range(3):
            await ask(running, backend)
        assert not left_in_cycles()


async def no_good_image(running: Running) -> None:
    await running.embed(b"no image", b"nor this")
    files = form([b"no image"], {})
    await running.client.post("/embed", files=files, headers={"accept": "application/x-npy"})


async def errors_of_other_places(running: Running) -> None:
    for items in (["a", "a" * 50], ["a", "a" * 9_000], ["a", "data:image/png;base64,AAAA"], [5]):
        assert (await running.client.post("/v1/embeddings", json={"input": items})).is_client_error


async def malformed_forms(running: Running) -> None:
    head = b'Content-Disposition: form-data; name="text"\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    for body in (
        b"--b\r\n" + head + b"never closed",
        b"--b junk\r\n" + head + b"a\r\n--b--\r\n",
        b"--b\r\nno header\r\n\r\na\r\n--b--\r\n",
    ):
        assert (await running.client.post("/embed", content=body, headers=headers)).status_code == 400


@pytest.mark.parametrize("ask", [no_good_image, errors_of_other_places, malformed_forms])
async def test_nothing_of_a_refused_request_is_left_in_a_cycle(
    toy: Path, no_collector: None, ask: Callable[[Running], Awaitable[None]]
) -> None:
    async with serving(FakeBackend(DIM), toy) as running:
        for _ in range(3):
            left_in_cycles()  # of the first request, which sets things up
            await ask(running)
        assert not left_in_cycles()
