"""What grows with a caller's data is computed beside the event loop, and what is short is not worth a thread."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request

from clipserve.api.answers import Classification, Embeddings, ImageLabels, ImageVector, LabelScore, TextVector
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.application.body import Body
from clipserve.application.shared import Shared, size_of
from clipserve.concurrency import SHORT
from clipserve.errors import UndecodableImage
from clipserve.rest.reading import reads
from tests.conftest import Beside

FORM = "multipart/form-data; boundary=b"


async def jobs_of(beside: Beside, content_type: str, body: bytes, query: bytes = b"") -> int:
    """Calls in the thread that reads this request."""
    inference: Any = SimpleNamespace(limits=RequestLimits())
    nothing: Any = None
    shared = Shared(inference, nothing, nothing, nothing, nothing)
    scope = {
        "type": "http",
        "headers": [],
        "query_string": query,
        "app": SimpleNamespace(state=SimpleNamespace(service=shared, max_json_bytes=1_000_000)),
        "state": {"body": Body(body), "headers": {b"content-type": content_type.encode()}},
    }
    await reads(EmbedRequest)(Request(scope))
    done, beside.jobs = beside.jobs, 0
    return done


@pytest.mark.parametrize(("size", "jobs"), [(4_096, 0), (4_097, 1)])
async def test_a_request_of_more_than_4_kb_is_read_in_a_thread(beside: Beside, size: int, jobs: int) -> None:
    text = "a" * (size - len(json.dumps({"texts": [""]})))
    assert await jobs_of(beside, "application/json", json.dumps({"texts": [text]}).encode()) == jobs
    head, end = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n', b"\r\n--b--"
    assert await jobs_of(beside, FORM, head + b"a" * (size - len(head + end)) + end) == jobs
    assert await jobs_of(beside, "image/png", b"an image", b"text=" + b"a" * (size - 5)) == jobs


async def test_an_image_alone_needs_no_reading(beside: Beside) -> None:
    assert await jobs_of(beside, "image/png", bytes(1_000_000), b"text=a") == 0


@pytest.mark.parametrize(("count", "short"), [(256, True), (257, False)])
def test_many_labels_are_rendered_in_a_thread(count: int, short: bool) -> None:
    labels = [LabelScore("a", 0.5, 0.5, 0.5)]
    broken = UndecodableImage("it is broken")
    answer = Classification("", "", [ImageLabels(labels * 200), broken, ImageLabels(labels * (count - 200))])
    assert (size_of(answer) <= SHORT) == short


@pytest.mark.parametrize(("count", "short"), [(32, True), (33, False)])
def test_many_vectors_are_rendered_in_a_thread(count: int, short: bool) -> None:
    vector = np.zeros(4, np.float32)
    texts = [TextVector(vector, 1, False)] * (count - 20)
    assert (size_of(Embeddings("", "", [*[ImageVector(vector)] * 20, *texts])) <= SHORT) == short
