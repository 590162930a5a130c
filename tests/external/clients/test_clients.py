"""Clients of other servers, each in its own environment, get what /embed and /classify give."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.external.clients.environments import installed
from tests.support.process import ROOT, Process

HERE = Path(__file__).parent
PHOTO = ROOT / "docs" / "cat.jpg"
LABELS = ["cat", "dog", "car"]
NAMES = sorted(path.stem for path in HERE.glob("*.txt"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    process = Process()
    process.wait_ready()
    yield process.url
    assert process.stop()[0] == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_client_gets_what_our_own_endpoints_give(url: str, name: str) -> None:
    script = HERE / f"{name.replace('-', '_')}_client.py"
    command: list[str | Path] = [installed(HERE / f"{name}.txt"), script, url, PHOTO, *LABELS]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    given: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert given
    image = base64.b64encode(PHOTO.read_bytes()).decode()
    embedded = httpx.post(f"{url}/embed", json={"images": [image], "texts": LABELS}, timeout=30).json()
    vectors = np.array([result["embedding"] for result in embedded["results"]], np.float32)
    for what, expected in (("image", vectors[0]), ("texts", vectors[1:]), ("both", vectors)):
        if what in given:
            np.testing.assert_array_equal(np.array(given.pop(what), np.float32), expected)
    if "reranked" in given:  # the first text is the query
        cosines = vectors[2:] @ vectors[1]
        assert given.pop("reranked") == [
            [int(cosines.argmax()), pytest.approx(float(cosines.max()), abs=1e-6)]
        ]
    if "labels" in given:
        classify = {"images": [image], "labels": LABELS, "templates": given.pop("templates")}
        scored = httpx.post(f"{url}/classify", json=classify, timeout=30).json()["results"][0]["labels"]
        for (label, score), known in zip(given.pop("labels"), scored, strict=True):
            assert (label, score) == (known["label"], pytest.approx(known["score"], rel=1e-4, abs=1e-6))
    for message in given.pop("errors", []):
        assert "is a URL" in message or "check_embedding_ctx_length" in message or "served" in message, (
            message
        )
    assert not given
