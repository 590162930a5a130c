"""The gateway in front of a real Triton: the same answers as embedded, and the truth about Triton's state."""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from clipserve.demo import FOLDER as DEMO
from tests.support.certificates import self_signed
from tests.support.service import Running, eventually, png, serving

if TYPE_CHECKING:
    from .conftest import Triton

LABELS = ["cat", "dog", "car", "coffee", "rocket", "house", "tree", "person", "bicycle", "guitar"]


@asynccontextmanager
async def gateway(triton: Triton, *folders: Path, **settings: Any) -> AsyncIterator[Running]:
    async with serving(
        None, *(folders or (DEMO,)), backend="triton", triton_url=triton.url, **settings
    ) as running:
        yield running


def photos(count: int) -> Iterator[bytes]:
    """Crops of scikit-image's photographs, of many sizes and shapes."""
    random = np.random.default_rng(0)
    scenes = [
        Image.fromarray(getattr(skimage.data, name)()) for name in ("cat", "coffee", "rocket", "astronaut")
    ]
    for number in range(count):
        scene = scenes[number % len(scenes)]
        width, height = (int(random.integers(side // 3, side)) for side in scene.size)
        left, top = int(random.integers(scene.width - width)), int(random.integers(scene.height - height))
        file = io.BytesIO()
        scene.crop((left, top, left + width, top + height)).save(file, "JPEG", quality=90)
        yield file.getvalue()


def in_flight(running: Running, tower: str = "image") -> float:
    value = running.gateway.metrics.registry.get_sample_value
    return value("clipserve_rows_in_flight", {"tower": tower}) or 0


async def until(running: Running, status: int) -> None:
    """Wait until /readyz says `status`. A second or two are promised; ten minutes are there to notice a hang."""
    async with asyncio.timeout(600):
        while (await running.client.get("/readyz")).status_code != status:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.nightly)])
async def test_embedded_and_triton_agree_on_photographs(triton: Triton, count: int) -> None:
    async def answers(running: Running) -> tuple[Any, Any]:
        vectors, scores = [], []
        for photo in photos(count):
            embedded = (await running.embed(photo)).json()
            vectors.append(embedded["results"][0]["embedding"])
            labels = (await running.classify(photo, labels=LABELS)).json()["results"][0]["labels"]
            scores.append([next(k["score"] for k in labels if k["label"] == label) for label in LABELS])
        return np.array(vectors), np.array(scores)

    async with gateway(triton) as remote, serving(None, DEMO) as embedded:
        (vectors, scores), (own_vectors, own_scores) = await answers(remote), await answers(embedded)
        await until(remote, 200)  # a Triton that waits for a core counts as silent
        models = [(await each.client.get("/v1/models")).json() for each in (remote, embedded)]
    assert (vectors * own_vectors).sum(axis=1).min() > 0.99999
    assert np.abs(scores - own_scores).max() < 1e-4
    assert models[0] == models[1], "one artifact has one fingerprint, wherever it runs"


async def test_sixteen_clients_share_batches_and_large_requests_are_split(triton: Triton) -> None:
    def counts() -> tuple[float, float]:
        rows, calls = "nv_inference_count", "nv_inference_exec_count"
        return triton.count(rows, model="demo_image"), triton.count(calls, model="demo_image")

    async with gateway(triton, max_queue_seconds=60) as running:
        rows, calls = counts()
        triton.pause()  # or the pictures might be decoded more slowly than encoded, and none would wait
        asking = [asyncio.create_task(running.embed(*(png(4 * i + k) for k in range(4)))) for i in range(16)]
        await eventually(lambda: in_flight(running) == 64)
        triton.resume()
        assert {answer.status_code for answer in await asyncio.gather(*asking)} == {200}
        await eventually(lambda: counts()[0] - rows >= 64)  # and perhaps that of the self-test
        assert (counts()[0] - rows) / (counts()[1] - calls) > 1.5
        texts = [f"text number {i}" for i in range(100)]
        together = (await running.embed(text=texts)).json()["results"]
        alone = (await running.embed(text=texts[99])).json()["results"][0]
        assert len(together) == 100
        assert float(np.dot(together[99]["embedding"], alone["embedding"])) > 0.99999


async def test_a_gateway_may_start_before_triton(brittle: Triton) -> None:
    brittle.stop()
    async with gateway(brittle, warm=False) as running:
        warming = asyncio.create_task(running.gateway.warm_up())
        await asyncio.sleep(1.5)
        assert (await running.client.get("/livez")).status_code == 200
        assert (await running.client.get("/readyz")).status_code == 503
        assert (await running.embed(next(photos(1)))).json()["code"] == "backend_unavailable"
        brittle.start()
        brittle.wait_ready()
        await until(running, 200)
        await warming
        assert (await running.embed(next(photos(1)))).status_code == 200


async def test_killed_in_the_middle_of_requests(brittle: Triton) -> None:
    async with gateway(brittle, max_queue_seconds=60, deadline_seconds=300) as running:
        asking = [asyncio.create_task(running.embed(*photos(8))) for _ in range(12)]
        await eventually(lambda: in_flight(running) > 0)
        brittle.kill()
        started = time.monotonic()
        answers = Counter((a.status_code, a.json().get("code")) for a in await asyncio.gather(*asking))
        assert set(answers) <= {(200, None), (503, "backend_unavailable")}
        assert answers[503, "backend_unavailable"]
        assert time.monotonic() - started < 60, "they wait for their deadline"
        await until(running, 503)
        listed = (await running.client.get("/v1/models")).json()["data"]
        assert [model["ready"] for model in listed] == [False]
        brittle.start()
        brittle.wait_ready()
        await until(running, 200)
        assert (await running.embed(next(photos(1)))).status_code == 200


# After 15 seconds gRPC ends the connection: eight are for a machine that does not stand still for as long.
@pytest.mark.parametrize("seconds", [3, pytest.param(8, marks=pytest.mark.nightly)])
async def test_stopped_for_seconds_and_continued_it_answers_what_it_owes(
    triton: Triton, seconds: int
) -> None:
    async with gateway(triton) as running:
        asking = asyncio.create_task(running.embed(*photos(8)))
        await eventually(lambda: in_flight(running) > 0)
        triton.pause()
        try:
            await until(running, 503)
            await asyncio.sleep(seconds)
        finally:
            triton.resume()
        await until(running, 200)
        assert (await asking).status_code == 200


async def test_tls_and_a_token_open_what_triton_restricts(triton_of: Any, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "triton")
    flags = [
        "--grpc-use-ssl=true",
        f"--grpc-server-cert={certificate}",
        f"--grpc-server-key={certificate.with_suffix('.key')}",
    ]
    restricted = "--grpc-restricted-protocol=inference,health,model-config:token=secret"
    guarded: Triton = triton_of(None, *flags, restricted)
    tls = {"triton_tls": True, "triton_ca_file": str(certificate)}
    url = guarded.url.replace("127.0.0.1", "localhost")

    def asking(**settings: Any) -> AbstractAsyncContextManager[Running]:
        return serving(None, DEMO, backend="triton", triton_url=url, **settings)

    async with asking(triton_token="secret", **tls) as running:
        assert (await running.embed(next(photos(1)))).status_code == 200
    async with (
        asking(warm=False, triton_token="guess", **tls) as guessing,
        asking(warm=False, triton_token="secret") as plain,
    ):
        warming = [asyncio.create_task(each.gateway.warm_up()) for each in (guessing, plain)]
        await asyncio.sleep(1)
        for each in (guessing, plain):
            assert (await each.client.get("/readyz")).status_code == 503
        for task in warming:
            task.cancel()
