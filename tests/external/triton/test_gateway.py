"""The gateway in front of a real Triton: the same answers as embedded, and the truth about Triton's state."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import subprocess
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
from prometheus_client import generate_latest

from clipserve.demo import FOLDER as DEMO
from clipserve.errors import BackendUnavailable
from tests.support import Running, eventually, form, png, serving

from .conftest import RUN

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


# Its models compute nothing while there is a file, and a second later.
HELD = f"[time.sleep(1) for _ in iter(lambda: os.path.exists(FILE), False)]; {RUN}"


# By day tests/triton/test_gathering.py has a server of our own.
@pytest.mark.nightly
async def test_a_client_who_leaves_cancels_his_work_in_triton(triton_of: Any, tmp_path: Path) -> None:
    file = tmp_path / "hold"

    def edit(program: str) -> str:
        assert RUN in program
        held = program.replace(RUN, HELD.replace("FILE", repr(str(file))))
        return held.replace("import os\n", "import os, time\n", 1)

    held: Triton = triton_of(edit, instances=2, max_batch_images=1)  # none has two calls

    def count(name: str, **labels: str) -> float:
        return held.count(name, model="demo_image", **labels)

    async with gateway(held, max_queue_seconds=600, deadline_seconds=600) as running:
        computed = count("nv_inference_count")
        file.touch()
        leaving = [asyncio.create_task(running.embed(*(png(8 * i + k) for k in range(8)))) for i in range(24)]
        # Each of its two instances has one, and so many more calls are on their way at a time.
        await eventually(lambda: count("nv_inference_pending_request_count") == 2)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        await eventually(lambda: in_flight(running) == 0)
        file.unlink()
        await eventually(lambda: count("nv_inference_request_failure", reason="CANCELED") == 2)
        assert (await running.embed(png())).status_code == 200
        assert count("nv_inference_count") - computed < 24 * 8


async def test_it_may_start_before_triton(brittle: Triton) -> None:
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


async def test_stopped_in_the_middle_of_requests(triton_of: Any) -> None:
    # Its own: it can crash long after it woke up, see below.
    triton: Triton = triton_of()
    async with gateway(triton, max_queue_seconds=60, deadline_seconds=6) as running:
        asking = [asyncio.create_task(running.embed(*photos(8))) for _ in range(6)]
        await eventually(lambda: in_flight(running) > 0)
        triton.pause()
        try:
            started = time.monotonic()
            await until(running, 503)
            answers = Counter((a.status_code, a.json().get("code")) for a in await asyncio.gather(*asking))
            assert time.monotonic() - started < 60, "a request outlived ten times its deadline"
            assert set(answers) <= {(200, None), (504, "deadline_exceeded"), (503, "backend_unavailable")}
            assert any(status != 200 for status, _ in answers)
        finally:
            triton.resume()
        async with asyncio.timeout(180):
            while (await running.embed(next(photos(1)))).status_code != 200:
                if not triton.running:
                    # The server of 24.10 can crash on the cancellations that it finds when it wakes up, at once or
                    # at a later request: races in its gRPC front, mended in 24.12 and after 25.01
                    # (triton-inference-server/server 7840, 8034). PyPI has no newer.
                    triton.start()
                    await asyncio.to_thread(triton.wait_ready)
                await asyncio.sleep(0.1)


async def test_restarted_under_load(brittle: Triton) -> None:
    async with gateway(brittle, max_queue_seconds=60, deadline_seconds=300) as running:
        seen: Counter[tuple[int, str | None]] = Counter()
        slowest, ended = 0.0, False

        async def client(photo: bytes) -> None:
            nonlocal slowest
            while not ended:
                started = time.monotonic()
                answer = await running.embed(photo)
                slowest = max(slowest, time.monotonic() - started)
                seen[answer.status_code, answer.json().get("code")] += 1
                await asyncio.sleep(0.05)  # or they take the CPU that Triton needs to start

        clients = [asyncio.create_task(client(photo)) for photo in photos(8)]
        try:
            await asyncio.sleep(0.5)
            await asyncio.to_thread(brittle.restart)
            await until(running, 200)
            await asyncio.sleep(0.5)
        finally:
            ended = True
            await asyncio.gather(*clients)
        assert set(seen) == {(200, None), (503, "backend_unavailable")}
        assert slowest < 60, "it waits for its deadline"


async def test_a_full_queue_is_overload(triton_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small: Triton = triton_of(max_queue_size=2, max_batch_texts=1)
    monkeypatch.setattr("clipserve.engine.triton.expected.CALLS_AN_INSTANCE", 100)
    async with gateway(small, max_queue_seconds=60) as running:
        small.pause()  # so that all come at once, however busy the machine is
        asking = [asyncio.create_task(running.embed(text=[f"text number {i}"])) for i in range(100)]
        await eventually(lambda: in_flight(running, "text") == 100)
        small.resume()
        answers = await asyncio.gather(*asking)
        seen = Counter((a.status_code, a.json().get("code")) for a in answers)
        assert set(seen) == {(200, None), (429, "overloaded")}
        assert all("retry-after" in a.headers for a in answers if a.status_code == 429)
        assert (await running.embed(next(photos(1)))).status_code == 200


# It answers what the file says: how many rows too many, and the value of each item.
LIAR = """
import numpy as np
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        extra, value = open(FILE).read().split()
        return [self.answer(r, int(extra), float(value)) for r in requests]
    def answer(self, request, extra, value):
        pixels = np.from_dlpack(pb.get_input_tensor_by_name(request, "pixels"))
        rows = np.full((len(pixels) + extra, 384), value, np.float32)
        return pb.InferenceResponse([pb.Tensor.from_dlpack("embedding", rows)])
"""


async def test_a_model_that_answers_nonsense_is_a_failure_of_the_backend(
    triton_of: Any, tmp_path: Path
) -> None:
    file = tmp_path / "lie"
    file.write_text("0 0.05")
    liar: Triton = triton_of(lambda _: LIAR.replace("FILE", repr(str(file))))
    for lie in ("0 nan", "0 inf", "1 0.05"):
        file.write_text(lie)
        await _is_a_failure(liar, lie)


async def _is_a_failure(liar: Triton, lie: str) -> None:
    async with gateway(liar, warm=False) as running:
        warming = asyncio.create_task(running.gateway.warm_up())
        with pytest.raises(Exception, match=r"self-test|embeddings of|failed|cannot be read"):
            await warming
        assert (await running.client.get("/readyz")).status_code == 503, lie
        (model,) = running.gateway.models.values()
        model.started = True  # as if it had begun to lie after its self-test
        for _ in range(3):
            answer = await running.embed(next(photos(1)))
            assert (answer.status_code, answer.json()["code"]) == (502, "backend_failed"), lie
        assert (await running.embed(text="cat")).status_code == 200, lie


async def test_another_artifact_in_triton_is_refused(triton: Triton, tmp_path: Path) -> None:
    other = Path(shutil.copytree(DEMO, tmp_path / "other", ignore=shutil.ignore_patterns("*.py", "*.md")))
    manifest = json.loads((other / "model.json").read_text())
    manifest["text"]["cleaning"] = "lower"
    del manifest["reference"]["token_ids"]  # those of the demo, which such an artifact would not have
    (other / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(BackendUnavailable, match="Write the repository again"):
        async with gateway(triton, other):
            pass


async def test_tls_and_a_token_open_what_triton_restricts(triton_of: Any, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    flags = ["--grpc-use-ssl=true", f"--grpc-server-cert={certificate}", f"--grpc-server-key={key}"]
    restricted = "--grpc-restricted-protocol=inference,health,model-config,statistics:token=secret"
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


async def test_several_gateways_share_one_triton(triton: Triton) -> None:
    async with gateway(triton) as one, gateway(triton) as two, gateway(triton) as three:
        answers = await asyncio.gather(*(g.embed(p) for p in photos(5) for g in (one, two, three)))
        assert {answer.status_code for answer in answers} == {200}
        for first, second, third in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
            assert first.json()["fingerprint"] == second.json()["fingerprint"] == third.json()["fingerprint"]
            vectors = [np.array(a.json()["results"][0]["embedding"]) for a in (first, second, third)]
            assert min(vectors[0] @ vectors[1], vectors[0] @ vectors[2]) > 0.99999


async def test_two_models_each_with_a_backend_of_its_own(brittle: Triton, tmp_path: Path) -> None:
    here = Path(shutil.copytree(DEMO, tmp_path / "here", ignore=shutil.ignore_patterns("*.py", "*.md")))
    manifest = json.loads((here / "model.json").read_text())
    (here / "model.json").write_text(json.dumps(manifest | {"name": "here"}))
    own = {"demo": {"backend": "triton", "triton_url": brittle.url, "max_queue_seconds": 50}}
    async with serving(None, here, DEMO, model_settings=own) as running:
        photo = next(photos(1))
        embedded = (await running.embed(photo, model="here")).json()
        remote = (await running.embed(photo, model="demo")).json()
        assert (embedded["model"], remote["model"]) == ("here", "demo")
        vectors = [np.array(answer["results"][0]["embedding"]) for answer in (embedded, remote)]
        assert vectors[0] @ vectors[1] > 0.99999
        brittle.kill()
        await until(running, 503)
        states = {m["id"]: m["ready"] for m in (await running.client.get("/v1/models")).json()["data"]}
        assert states == {"here": True, "demo": False}
        assert (await running.embed(photo, model="here")).status_code == 200
        assert (await running.embed(photo, model="demo")).status_code == 503


async def test_metrics_tell_queue_and_compute_apart(triton: Triton) -> None:
    async with gateway(triton) as running:
        for photo in photos(4):
            await running.embed(photo, text="cat")

        def exposed() -> str:
            return generate_latest(running.gateway.metrics.registry).decode()

        for phase in ("queue", "compute_infer"):
            labels = f'endpoint="{triton.url}",model="demo_image",phase="{phase}"'
            series = f"clipserve_triton_phase_seconds_total{{{labels}}}"
            await eventually(lambda series=series: series in exposed())  # type: ignore[misc]
        assert 'clipserve_batch_seconds_count{tower="image"}' in exposed()


async def test_form_requests_reach_triton_like_any_other(triton: Triton) -> None:
    async with gateway(triton) as running:
        files = form([*photos(2), b"no image"], {"labels": LABELS})
        answer = await running.client.post("/classify", files=files)
        assert [("error" in result) for result in answer.json()["results"]] == [False, False, True]
