"""The encoders of a service that nobody asks leave its memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from tests.support.process import LIGHT, PATIENT, Fresh, Process, copy_of_demo, get, post, waited_until

pytestmark = pytest.mark.slow
T = TypeVar("T")


def test_the_memory_of_encoders_is_free_until_the_next_request(capsys: pytest.CaptureFixture[str]) -> None:
    process = Fresh(**LIGHT, **PATIENT, unload_after_seconds=3)
    process.wait_ready()

    def embed() -> httpx.Response:
        answer = httpx.post(process.url + "/embed", json={"texts": ["a cat"]}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    def unloads() -> int:
        return process.log().count("encoders_unloaded")

    def undisturbed(ask: Callable[[], T]) -> T:
        """What it gives where nothing is unloaded meanwhile: on a busy machine three seconds may pass."""
        while True:
            before, found = unloads(), ask()
            if unloads() == before:
                return found

    first, before = undisturbed(lambda: (embed(), process.resident()))
    seen = unloads()
    waited_until(lambda: unloads() > seen)
    after = process.resident()
    assert get(process.url + "/readyz").status_code == 200
    began = time.monotonic()
    again = embed()
    seconds = time.monotonic() - began
    assert again.json()["results"] == first.json()["results"]
    (load,) = re.findall(r"\bload;dur=([\d.]+)", again.headers["server-timing"])
    assert 0 < float(load) / 1000 < seconds
    assert after < before
    with capsys.disabled():
        print(
            f"\n{before / 1024:.0f} MB, unloaded {after / 1024:.0f} MB; the next answer took {seconds:.2f} s"
        )
    _, last = undisturbed(lambda: (embed(), embed()))
    assert "load" not in last.headers["server-timing"]
    assert process.stop()[0] == 0


def test_it_is_ready_again_only_when_encoders_that_could_not_be_loaded_are_back(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    process = Process(models=str(copy), unload_after_seconds=1, **LIGHT)
    process.wait_ready()
    waited_until(lambda: "encoders_unloaded" in process.log())
    (copy / "text.onnx").rename(copy / "away")
    assert post(process.url + "/embed", json={"texts": ["a cat"]}).status_code == 503

    def ready() -> list[int]:
        return [get(url + "/readyz").status_code for url in (process.url, process.operations_url)]

    waited_until(lambda: ready() == [503, 503], 60)
    (copy / "away").rename(copy / "text.onnx")
    waited_until(lambda: ready() == [200, 200])  # without a request
    assert post(process.url + "/embed", json={"texts": ["a cat"]}).status_code == 200
    assert process.stop()[0] == 0
