"""The scale of an exported model is read from the hub with two ranges of bytes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from tests.models.layouts.folders import write_safetensors

LARGE = 3_000_000  # bytes of weights that nobody needs


@contextmanager
def hub(files: dict[str, bytes], *, ranges: bool = True) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """A hub with these files, that answers ranges or not, and what it sent: paths and bytes."""
    sent: list[tuple[str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
            assert asked is not None
            body = b"" if content is None else content[int(asked[1]) : int(asked[2]) + 1]
            self.send_response(404 if content is None else 206 if ranges else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if content is not None:
                sent.append((self.path, len(body)))

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scale(url: str, source: str) -> subprocess.CompletedProcess[str]:
    """In a process, because huggingface_hub reads its variables when it is imported."""
    program = (
        f"from clipserve_models.imported.scale import scoring_of; print(scoring_of({source!r}).logit_scale)"
    )
    environment = os.environ | {"HF_ENDPOINT": url}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    path = tmp_path / "model.safetensors"
    logarithm = np.full(1, np.log(50))
    write_safetensors(
        path, {"first": np.zeros(LARGE // 4), "logit_scale": logarithm, "last": np.zeros(LARGE // 4)}
    )
    return path.read_bytes()


def test_a_few_bytes_of_the_weights_are_read(weights: bytes) -> None:
    path = "/org/name/resolve/v2/model.safetensors"
    with hub({path: weights}) as (url, sent):
        answer = scale(url, "org/name@v2")
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout) == pytest.approx(50, rel=1e-6)
    assert [each for each, _ in sent] == [path, path]
    assert sum(count for _, count in sent) < LARGE / 10


def test_a_hub_without_ranges_or_without_weights_is_told_so(weights: bytes) -> None:
    with hub({"/org/name/resolve/main/open_clip_model.safetensors": weights}, ranges=False) as (url, _):
        whole, absent = scale(url, "org/name"), scale(url, "org/other")
    assert "answers 200 where 206, a part of the file, is needed" in whole.stderr
    assert "org/other has no open_clip_model or" in absent.stderr
    assert "give --logit-scale" in absent.stderr
