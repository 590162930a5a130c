"""How a client is shared, interrupted and ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

import clipserve
from tests.client.test_servers import SECONDS
from tests.commands.hostile import EMBEDDED, Parts, body, serving
from tests.support.process import ROOT


@contextmanager
def silent() -> Iterator[tuple[str, threading.Event]]:
    """A server that answers nothing until the block ends: its URL, and the event that it is asked."""
    held, asked = threading.Event(), threading.Event()

    def answers(request: bytes) -> Parts:
        asked.set()
        held.wait(SECONDS)
        return body(EMBEDDED)

    with serving(answers) as (url, _):
        yield url, asked
        held.set()


def test_threads_share_a_client(demo: str) -> None:
    with clipserve.Client(demo) as client, ThreadPoolExecutor(4) as threads:
        texts = [f"{number} cats" for number in range(8)]
        found = list(threads.map(lambda text: client.embed_texts([text]).vectors[0], texts))
        np.testing.assert_allclose(found, client.embed_texts(texts).vectors, rtol=0, atol=1e-4)


@pytest.mark.parametrize("made", ["Clip(backend='onnx')", "Client({url!r})"])
def test_a_program_that_closes_nothing_ends(made: str, demo: str) -> None:
    program = f"import clipserve\nclip = clipserve.{made}\nprint(clip.embed_texts(['a']).vectors.shape)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program.replace("{url!r}", repr(demo))],
        cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "(1, 384)\n", "")


def test_ctrl_c_ends_a_call_that_waits() -> None:
    with silent() as (url, asked):
        program = f"import clipserve\nclipserve.Client({url!r}).embed_texts(['a'])"
        with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE) as process:
            assert asked.wait(SECONDS)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=SECONDS)
    assert errors.endswith(b"KeyboardInterrupt\n")


@pytest.mark.parametrize("made", ["Clip(backend='onnx')", "Client()"])
def test_what_is_closed_says_so(made: str) -> None:
    client = eval(f"clipserve.{made}")
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="is closed"):
        client.embed_texts(["a"])


@pytest.mark.parametrize("made", ["Clip(backend='onnx')", "Client({url!r})"])
def test_a_fork_refuses_calls_and_leaves_the_client_to_its_parent(made: str, demo: str) -> None:
    program = f"""
import clipserve, os
clip = clipserve.{made.replace("{url!r}", repr(demo))}
if not (child := os.fork()):
    try:
        clip.embed_texts(["a"])
    except RuntimeError as error:
        print(error, flush=True)
    clip.close()
    del clip
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), clip.embed_texts(["a"]).vectors.shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    refused, ended = done.stdout.splitlines()
    assert "was opened before a fork" in refused
    assert ended == "7 (1, 384)"
