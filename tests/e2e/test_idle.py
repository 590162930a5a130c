"""The encoders of a service that nobody asks leave its memory."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from tests.process import LIGHT, Fresh, get

pytestmark = pytest.mark.slow


def test_the_memory_of_encoders_is_free_until_the_next_request(capsys: pytest.CaptureFixture[str]) -> None:
    process = Fresh(**LIGHT, unload_after_seconds=3)
    process.wait_ready()

    def embed() -> httpx.Response:
        answer = httpx.post(process.url + "/embed", json={"texts": ["a cat"]}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    first = embed()
    before = process.resident()
    while "encoders_unloaded" not in process.log():
        time.sleep(0.1)
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
    assert "load" not in embed().headers["server-timing"]
    assert process.stop()[0] == 0
