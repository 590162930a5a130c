"""`Client` and `AsyncClient` at servers that die, change, refuse or mean harm."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clipserve.client.errors import FingerprintChanged, OddAnswer, Refused, Unreachable
from tests.client.conftest import CLIENTS, client_of
from tests.commands.hostile import CAT, CLASSIFIED, EMBEDDED, MODEL, MODELS, Parts, body, good_but, serving

SECONDS = 300.0  # to notice a hang


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def refusal(retry_after: str) -> Parts:
    said = {"code": "rate_limited", "detail": "the key has used up its rate."}
    return body(said, 429, f"Retry-After: {retry_after}", "X-Request-Id: r-1")


def test_a_call_never_mixes_the_vectors_of_two_models(kind: str) -> None:
    numbers = iter(range(100))

    def answers(request: bytes) -> Parts:
        return body({**EMBEDDED, "fingerprint": f"toy@{next(numbers)}"})

    with serving(answers) as (url, _):
        changed = pytest.raises(FingerprintChanged, match="has changed while this call was under way")
        with client_of(kind, url) as client, changed:
            client.embed_texts(["a", "b"])
        other = pytest.raises(FingerprintChanged, match="and those of toy@0 are expected")
        with client_of(kind, url, expect_fingerprint="toy@0") as client, other:
            client.embed_texts(["a"])


def test_a_client_gives_up_where_the_wait_would_be_too_long(kind: str) -> None:
    with (
        serving(lambda _: refusal("300")) as (url, requests),
        client_of(kind, url, retry_seconds=5) as client,
    ):
        began = time.monotonic()
        with pytest.raises(Refused) as refused:
            client.embed_texts(["a"])
    assert time.monotonic() - began < 250
    assert len(requests) == 1
    error = refused.value
    assert (error.code, error.status, error.retry_after) == ("rate_limited", 429, 300)
    assert (error.request_id, error.detail) == ("r-1", "the key has used up its rate.")


def test_where_nothing_answers_it_is_said_soon(kind: str) -> None:
    began = time.monotonic()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # it does not listen, and no other program can
        with (
            client_of(kind, f"http://127.0.0.1:{taken.getsockname()[1]}") as client,
            pytest.raises(Unreachable, match="Connection refused"),
        ):
            client.embed_texts(["a"])
    assert time.monotonic() - began < 20


def test_a_server_that_does_not_answer_in_time_is_unreachable(kind: str) -> None:
    held = threading.Event()

    def answers(request: bytes) -> Parts:
        held.wait(SECONDS)
        return body({})

    with serving(answers) as (url, _):
        with (
            client_of(kind, url, timeout=0.2, retry_seconds=0) as client,
            pytest.raises(Unreachable, match=r"does not answer within 0\.2 s"),
        ):
            client.embed_texts(["a"])
        held.set()


def test_a_score_that_is_no_number_is_odd(kind: str) -> None:
    answer = body(json.dumps(CLASSIFIED).replace("0.9", "NaN").encode())
    with (
        serving(lambda _: answer) as (url, _),
        client_of(kind, url) as client,
        pytest.raises(OddAnswer, match="its answer is wrong: results"),
    ):
        client.classify([CAT], ["a", "b"])


def test_vectors_of_several_lengths_are_odd(kind: str) -> None:
    lengths = iter(["AACAPw==", "AACAPwAAAAA="])

    def answers(request: bytes) -> Parts:
        return body(EMBEDDED | {"results": [{"embedding": next(lengths)}]})

    with (
        serving(answers) as (url, _),
        client_of(kind, url, in_flight=1) as client,
        pytest.raises(OddAnswer, match="several lengths"),
    ):
        client.embed_texts(["a", "b"])


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
