"""What a real Triton server does with the repository that is written for it, and with those who call it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import tritonclient.grpc.aio as client
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from tests.monitoring.files import metrics_of, queries, rules
from tests.support import eventually

from .conftest import RUN

if TYPE_CHECKING:
    from .conftest import Triton

MANIFEST = read_manifest(DEMO)
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (8, MANIFEST.image.size, MANIFEST.image.size, 3), dtype=np.uint8)
LENGTHS = np.array([3, 16, 7, 2, 9, 12], np.int32)
TOKEN_IDS = RANDOM.integers(1000, 2000, (6, 16), dtype=np.int32)


@pytest.fixture
async def server(triton: Triton) -> AsyncIterator[client.InferenceServerClient]:
    async with client.InferenceServerClient(triton.url) as connected:
        yield connected


def tensor(name: str, array: npt.NDArray[Any]) -> client.InferInput:
    made = client.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


async def image(
    server: client.InferenceServerClient, pixels: npt.NDArray[Any], **options: Any
) -> npt.NDArray[Any]:
    answer = await server.infer("demo_image", [tensor("pixels", pixels)], **options)
    return np.asarray(answer.as_numpy("embedding"))


async def text(server: client.InferenceServerClient, ids: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> Any:
    rows = [tensor("token_ids", ids), tensor("lengths", lengths[:, np.newaxis])]
    return (await server.infer("demo_text", rows)).as_numpy("embedding")


def expected(graph: str, **feeds: npt.NDArray[Any]) -> Any:
    return ort.InferenceSession(DEMO / graph).run(None, feeds)[0]


def cosine(one: Any, other: Any) -> float:
    return float((one * other).sum(axis=1).min())


async def outcome(call: Awaitable[Any]) -> str:
    """`ok`, or the status and the message."""
    try:
        await call
    except InferenceServerException as error:
        return f"{error.status()} {error.message()}".removeprefix("StatusCode.")
    except asyncio.CancelledError:
        return "left"
    return "ok"


async def test_a_request_that_the_graph_cannot_run_fails_alone(server: client.InferenceServerClient) -> None:
    bad = np.full((1, 16), 10**8, np.int32)  # no such token
    calls = [text(server, bad if i == 2 else TOKEN_IDS[i : i + 1], LENGTHS[i : i + 1]) for i in range(6)]
    answers: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    failed = [i for i, answer in enumerate(answers) if isinstance(answer, InferenceServerException)]
    assert failed == [2]
    assert answers[2].status() == "StatusCode.INTERNAL"
    good = [0, 1, 3, 4, 5]
    want = expected("text.onnx", token_ids=TOKEN_IDS[good], lengths=LENGTHS[good])
    assert cosine(np.concatenate([answers[i] for i in good]), want) > 0.99999


@pytest.mark.parametrize("way", ["cancelled", "deadline"])
async def test_who_leaves_is_not_computed(
    triton: Triton, server: client.InferenceServerClient, way: str
) -> None:
    def count(name: str, **labels: str) -> float:
        return triton.count(name, model="demo_image", **labels)

    def dropped() -> float:
        return count("nv_inference_request_failure", reason="CANCELED")

    async def stay() -> list[Any]:
        """What one client gets that asks until the others have left."""
        outcomes = list[Any]()
        while not over or not outcomes:
            outcomes.append(await outcome(image(server, PIXELS)))
        return outcomes

    def waiting(calls: int) -> bool:
        return count("nv_inference_pending_request_count") >= calls

    computed = await triton.settled("nv_inference_count", model="demo_image")
    cancelled, over = dropped(), False
    staying = [asyncio.create_task(stay()) for _ in range(20)]
    left, waves = list[Any](), 0
    async with asyncio.timeout(600):
        while await asyncio.to_thread(dropped) - cancelled < 4:  # a busy machine may send them too slowly
            await eventually(lambda: waiting(12))  # else the small ones overtake them
            # In turn what a slow machine needs to send them, and what a fast one lets them wait.
            limit = {"client_timeout": 0.2 / 4 ** (waves % 3)} if way == "deadline" else {}
            leaving = [asyncio.create_task(outcome(image(server, PIXELS[:1], **limit))) for _ in range(20)]
            if way == "cancelled":
                # Four of those who leave wait, even if all others do too; or this process stood still.
                answered = asyncio.gather(*leaving)
                await eventually(lambda answered=answered: answered.done() or waiting(20 + 4))  # type: ignore[misc]
                for task in leaving:
                    task.cancel()
            left += await asyncio.gather(*leaving)
            waves += 1
            assert await image(server, PIXELS[:1]) is not None, "all that was before it has been dealt with"
    over = True
    stayed = [each for outcomes in await asyncio.gather(*staying) for each in outcomes]
    assert set(stayed) == {"ok"}
    rows = 8 * len(stayed) + left.count("ok") + waves

    def whole() -> bool:
        """Of those who left, some may not have reached the queue, or left with their answer on its way."""
        others = len(left) - left.count("ok") - (dropped() - cancelled)
        return 0 <= count("nv_inference_count") - computed - rows <= others

    # Four at least were dropped from it, and what was dropped was not computed.
    await eventually(whole)


async def until_refused(call: Callable[[], Awaitable[Any]], times: int) -> Counter[str]:
    """What was said to so many calls at a time, until one was refused: a busy machine may send them too slowly."""
    said: Counter[str] = Counter()
    for _ in range(20):
        said += Counter(await asyncio.gather(*(outcome(call()) for _ in range(times))))
        if set(said) > {"ok"}:
            break
    return said


async def test_a_full_queue_and_a_long_wait_are_refused(
    triton: Triton, server: client.InferenceServerClient
) -> None:
    rejected = triton.count("nv_inference_request_failure", model="demo_image", reason="REJECTED")
    full = await until_refused(lambda: image(server, PIXELS[:2]), 300)
    refused = {said for said in full if said != "ok"}
    assert full["ok"] > 0
    assert len(refused) == 1, "refused for one reason"
    assert all("UNAVAILABLE " in said and "maximum queue size" in said.lower() for said in refused)
    assert triton.count("nv_inference_request_failure", model="demo_image", reason="REJECTED") == rejected
    late = await until_refused(lambda: image(server, PIXELS, timeout=1000), 20)
    # A millisecond may be over before an instance that is free takes the first call.
    assert set(late) - {"ok"} == {"UNAVAILABLE Request timeout expired"}
    await eventually(
        lambda: (
            triton.count("nv_inference_request_failure", model="demo_image", reason="REJECTED") - rejected
            == late["UNAVAILABLE Request timeout expired"]
        )
    )


async def test_shared_memory_and_control_are_closed(server: client.InferenceServerClient) -> None:
    closed = "UNAVAILABLE This protocol is restricted, expecting header 'triton-grpc-protocol-key'"
    assert await outcome(server.register_system_shared_memory("x", "/x", 1)) == closed
    assert await outcome(server.unload_model("demo_image")) == closed
    assert await outcome(server.update_log_settings({"log_verbose_level": 9})) == closed


async def test_sigterm_lets_what_is_in_flight_end(triton_of: Callable[..., Triton], tmp_path: Path) -> None:
    hold, begun = tmp_path / "hold", tmp_path / "hold.begun"

    def edit(program: str) -> str:
        """While there is the file, it says that it has begun, and does not go on."""
        assert RUN in program
        says = f"os.path.exists({str(hold)!r}) and open({str(begun)!r}, 'w').close()"
        waits = f"[time.sleep(0.02) for _ in iter(lambda: os.path.exists({str(hold)!r}), False)]"
        return program.replace(RUN, f"{says}; {waits}; {RUN}").replace("import os\n", "import os, time\n", 1)

    held = triton_of(edit)
    async with client.InferenceServerClient(held.url) as ending:
        hold.touch()
        calls = [asyncio.create_task(outcome(image(ending, PIXELS)))]
        await eventually(begun.exists)
        calls += [asyncio.create_task(outcome(image(ending, PIXELS))) for _ in range(7)]
        await eventually(lambda: held.count("nv_inference_pending_request_count", model="demo_image") == 7)
        held.terminate()
        late: list[asyncio.Task[str]] = []
        async with asyncio.timeout(300):  # the signal takes its time
            while not (refused := [each.result() for each in late if each.done()]):
                late.append(asyncio.create_task(outcome(image(ending, PIXELS[:1]))))
                await asyncio.sleep(0.02)
        assert refused[0].startswith("UNAVAILABLE ")
        assert not any(call.done() for call in calls)
        hold.unlink()
        assert set(await asyncio.gather(*calls)) == {"ok"}
        await asyncio.gather(*late)
    held.stop()


def test_triton_gives_the_series_that_alerts_and_panels_read(triton: Triton) -> None:
    """Those of GPUs it has only with a GPU. The parser of its metrics adds `_total` to counters."""
    told = {sample.name.removesuffix("_total") for sample in triton.metrics()}
    expressions = [rule["expr"] for rule in rules()] + [query.expression for query in queries()]
    read = {name for expression in expressions for name in metrics_of(expression)}
    inferences = {name for name in read if name.startswith("nv_inference_")}
    assert inferences
    assert inferences <= told
    reasons = {sample.labels["reason"] for sample in triton.metrics() if "request_failure" in sample.name}
    assert {"REJECTED", "CANCELED", "BACKEND"} <= reasons
