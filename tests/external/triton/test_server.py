"""What a real Triton server does with the repository that is written for it, and with those who call it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc.aio as client
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from tests.monitoring.files import metrics_of, queries, rules
from tests.support.service import eventually

from .conftest import RUN

if TYPE_CHECKING:
    from .conftest import Triton

MANIFEST = read_manifest(DEMO)
PIXELS = np.zeros((8, MANIFEST.image.size, MANIFEST.image.size, 3), np.uint8)


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


async def outcome(call: Awaitable[Any]) -> str:
    """`ok`, or the status and the message."""
    try:
        await call
    except InferenceServerException as error:
        return f"{error.status()} {error.message()}".removeprefix("StatusCode.")
    except asyncio.CancelledError:
        return "left"
    return "ok"


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
