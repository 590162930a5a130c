"""`Client` and `AsyncClient` at servers that die, change, refuse or are none of clipserve."""

from __future__ import annotations

import base64
import json
import resource
import time
from collections.abc import Callable
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
    head,
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


ODD = " is not a clipserve server: its answer"
NO_VECTOR = "answers something else than a vector of toy"
NAN = body(json.dumps(CLASSIFIED).replace("0.9", "NaN").encode())
# What is asked; the answers of a server; the error, and what it says.
ANSWERS = [
    pytest.param(embed, body(b""), OddAnswer, ODD, id="nothing"),
    pytest.param(embed, body(b"[" * 100_000), OddAnswer, ODD, id="arrays in arrays"),
    pytest.param(embed, body({"results": [{}]}), OddAnswer, ODD, id="no fields"),
    pytest.param(classify, NAN, OddAnswer, rf"{ODD}\.results", id="a score that is none"),
    pytest.param(embed, vector(float("nan"), 1), OddAnswer, NO_VECTOR, id="NaN"),
    pytest.param(embed, vector(3e38, 3e38), OddAnswer, NO_VECTOR, id="too large"),
    pytest.param(embed, vector(0, 0), OddAnswer, NO_VECTOR, id="zeros"),
    pytest.param(embed, vector(1), OddAnswer, NO_VECTOR, id="too short"),
    pytest.param(
        embed, body(EMBEDDED | {"results": [{"embedding": EVIL}]}), OddAnswer, NO_VECTOR, id="no base64"
    ),
    pytest.param(embed, body(EMBEDDED | {"fingerprint": "toy@2"}), FingerprintChanged, "toy@2", id="model"),
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


@pytest.mark.parametrize("ask", [embed, classify])
def test_an_answer_without_an_end_takes_the_memory_of_what_was_asked(
    ask: Callable[[Any], Any], kind: str
) -> None:
    def endless() -> Parts:
        yield head("Transfer-Encoding: chunked")
        for _ in range(1_000):
            yield b"f4240\r\n" + bytes(1_000_000) + b"\r\n"

    usual = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        serving(lambda _: endless()) as (url, _),
        client_of(kind, url) as client,
        pytest.raises(OddAnswer, match=r"more than (1|16),000,000 bytes"),
    ):
        ask(client)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - usual < 200_000  # KB of a gigabyte
