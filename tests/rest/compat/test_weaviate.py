"""POST /vectorize and what else Weaviate's module multi2vec-clip asks its inference container for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.rest.compat.test_openai import IMAGES, URIS, vectors_of
from tests.support import DIM, Running


class Module:
    """Asks as the module does: lists that it does not fill are null, and the reason of a failure is `error`."""

    def __init__(self, running: Running) -> None:
        self._client = running.client

    async def vectorize(
        self, texts: list[str] | None, images: list[str] | None
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        answer = await self._client.post("/vectorize", json={"texts": texts, "images": images})
        told = answer.json()
        if answer.status_code > 399:
            raise RuntimeError(f"fail with status {answer.status_code}: {told['error']}")
        return np.array(told["textVectors"], np.float32), np.array(told["imageVectors"], np.float32)


async def test_vectors_are_those_of_embed(running: Running) -> None:
    module = Module(running)
    expected = await vectors_of(running, *IMAGES, texts=["a cat", "a dog"])
    texts, images = await module.vectorize(["a cat", "a dog"], [IMAGES[0], URIS[1]])
    np.testing.assert_array_equal(images, expected[:2])
    np.testing.assert_array_equal(texts, expected[2:])


async def test_a_list_may_be_null_or_empty_or_missing(running: Running) -> None:
    module = Module(running)
    nothing: list[list[str] | None] = [None, []]
    for none in nothing:
        texts, images = await module.vectorize(["a cat"], none)
        assert (len(texts), len(images)) == (1, 0)
        texts, images = await module.vectorize(none, IMAGES)
        assert (len(texts), len(images)) == (0, 2)
    answer = await running.client.post("/vectorize", json={"texts": ["a cat"], "config": {"dimensions": 5}})
    assert answer.json()["imageVectors"] == []


@pytest.mark.parametrize(
    ("texts", "images", "said"),
    [
        (None, None, "400: there is nothing to embed"),
        (None, ["!"], "422: .*not valid base64"),
        (None, ["http://a/cat.jpg"], "422: .*URL"),
        (None, [IMAGES[0], "aGVsbG8="], "4..: "),
        ("a cat", None, "400: texts: Input should be a valid list"),
        (["a"] * 9_999, None, "413: the request has 9,999 texts"),
    ],
)
async def test_a_failure_is_where_the_module_reads_it(
    running: Running, texts: Any, images: Any, said: str
) -> None:
    with pytest.raises(RuntimeError, match=f"fail with status {said}"):
        await Module(running).vectorize(texts, images)


async def test_the_routes_of_weaviate_are_ready_when_the_service_is_and_say_what_it_serves(
    running: Running,
) -> None:
    for probe in ("ready", "live"):
        assert (await running.client.get(f"/.well-known/{probe}")).status_code == 204
    (model,) = (await running.client.get("/v1/models")).json()["data"]
    meta = (await running.client.get("/meta")).json()
    assert meta == {"model": "toy", "fingerprint": model["fingerprint"], "dimensions": DIM}
