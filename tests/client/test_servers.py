"""`Client` and `AsyncClient` at servers that die, change, refuse or are none of clipserve."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from clipserve.client.errors import FingerprintChanged, OddAnswer, Refused, Unreachable
from loadtests.process import free_port
from tests.client.conftest import CLIENTS, client_of
from tests.commands.hostile import (
    CAT,
    CLASSIFIED,
    EMBEDDED,
    EVIL,
    MODEL,
    MODELS,
    Parts,
    body,
    good_but,
    serving,
)  # fmt: skip

SECONDS = 300.0  # to notice a hang
REFUSED = {"code": "rate_limited", "detail": "the key has used up its rate."}


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def vector(*values: float) -> Parts:
    content = base64.b64encode(np.array(values, "<f4").tobytes()).decode()
    return body(EMBEDDED | {"results": [{"embedding": content}]})


def embed(client: Any) -> Any:
    return client.embed_texts(["a"])


def classify(client: Any) -> Any:
    return client.classify([CAT], ["a", "b"])


ODD = " is not a clipserve server: its answer is "
LENGTH = "a vector has 2, of length 1"
NAN = body(json.dumps(CLASSIFIED).replace("0.9", "NaN").encode())
# What is asked; the answers of a server; the error, and what it says.
ANSWERS = [
    pytest.param(embed, body(b""), OddAnswer, f"{ODD}wrong: ", id="nothing"),
    pytest.param(embed, body(b"<html>"), OddAnswer, f"{ODD}not JSON", id="HTML"),
    pytest.param(embed, body(b"[" * 100_000), OddAnswer, f"{ODD}not JSON", id="arrays in arrays"),
    pytest.param(
        embed, body(b'{"model": "\\ud800"}'), OddAnswer, f"{ODD}not JSON", id="half a surrogate pair"
    ),
    pytest.param(embed, body({"results": [{}]}), OddAnswer, f"{ODD}wrong: ", id="no fields"),
    pytest.param(classify, NAN, OddAnswer, f"{ODD}wrong: results", id="a score that is none"),
    pytest.param(embed, vector(float("nan"), 1), OddAnswer, LENGTH, id="NaN"),
    pytest.param(embed, vector(3e38, 3e38), OddAnswer, LENGTH, id="too large"),
    pytest.param(embed, vector(1), OddAnswer, LENGTH, id="too short"),
    pytest.param(
        embed, body(EMBEDDED | {"results": [{"embedding": EVIL}]}), OddAnswer, LENGTH, id="no base64"
    ),
    pytest.param(embed, body(EMBEDDED | {"fingerprint": "toy@2"}), FingerprintChanged, "toy@2", id="model"),
    pytest.param(embed, body(REFUSED, 403), Refused, "CLIPSERVE_KEY", id="key"),
    pytest.param(embed, body(EVIL.encode(), 500), Refused, "HTTP 500", id="proxy"),
]


@pytest.mark.parametrize(("ask", "answer", "error", "said"), ANSWERS)
def test_an_answer_that_cannot_be_used_is_an_error_that_says_why(
    ask: Callable[[Any], Any], answer: Parts, error: type[Exception], said: str, kind: str
) -> None:
    with (
        serving(lambda request: body(MODELS) if b" /v1/models" in request else answer) as (url, _),
        client_of(kind, url) as client,
    ):
        client.pin()
        with pytest.raises(error, match=said):
            ask(client)


def test_a_call_never_mixes_the_vectors_of_two_models(kind: str) -> None:
    numbers = iter(range(100))
    with (
        serving(lambda _: body(EMBEDDED | {"fingerprint": f"toy@{next(numbers)}"})) as (url, _),
        client_of(kind, url) as client,
        pytest.raises(FingerprintChanged, match="has changed while this call was under way"),
    ):
        client.embed_texts(["a", "b"])


def test_vectors_of_several_lengths_are_odd(kind: str) -> None:
    answers = iter([vector(1), vector(1, 0)])
    with (
        serving(lambda _: next(answers)) as (url, _),
        client_of(kind, url, in_flight=1) as client,
        pytest.raises(OddAnswer, match="several lengths"),
    ):
        client.embed_texts(["a", "b"])


def test_a_client_gives_up_where_the_wait_would_be_too_long(kind: str) -> None:
    refusal = body(REFUSED, 429, "Retry-After: 300", "X-Request-Id: r-1")
    with serving(lambda _: refusal) as (url, requests), client_of(kind, url, retry_seconds=5) as client:
        began = time.monotonic()
        with pytest.raises(Refused) as refused:
            client.embed_texts(["a"])
    assert (time.monotonic() - began < 250, len(requests)) == (True, 1)
    error = refused.value
    assert (error.code, error.status, error.retry_after) == ("rate_limited", 429, 300)
    assert (error.request_id, error.detail) == ("r-1", "the key has used up its rate.")


def test_an_address_where_nothing_answers_is_asked_once(kind: str) -> None:
    with (
        client_of(kind, f"http://127.0.0.1:{free_port()}", retry_seconds=SECONDS) as client,
        pytest.raises(Unreachable, match="Connection refused"),
    ):
        client.embed_texts(["a"])


def test_a_model_that_is_not_ready_is_said(kind: str) -> None:
    models = MODELS | {"data": [MODEL | {"ready": False}]}
    with (
        serving(good_but({"/v1/models": body(models)})) as (url, _),
        client_of(kind, url) as client,
        pytest.raises(Unreachable, match="cannot use toy yet"),
    ):
        client.served_by()


def test_connections_are_kept(kind: str) -> None:
    callers = set[tuple[str, int]]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            callers.add(self.client_address)
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = json.dumps(EMBEDDED).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with client_of(kind, f"http://127.0.0.1:{server.server_port}", in_flight=2) as client:
            for _ in range(3):
                client.embed_texts(["a", "b", "c", "d"])
        server.shutdown()
    assert 1 <= len(callers) <= 2
