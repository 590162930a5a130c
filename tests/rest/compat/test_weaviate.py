"""POST /vectorize and what else Weaviate's module multi2vec-clip asks its inference container for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.fake_backend import FakeBackend
from tests.access.support import write_keys
from tests.rest.compat.test_openai import IMAGES, URIS, vectors_of
from tests.support import DIM, Running, serving, write_toy_artifact


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

    async def ready(self) -> bool:
        return (await self._client.get("/.well-known/ready")).status_code <= 299


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


async def test_a_long_text_is_cut(running: Running) -> None:
    texts, _ = await Module(running).vectorize(["cat " * 900], None)
    assert texts.shape == (1, DIM)


@pytest.mark.parametrize(
    ("texts", "images", "said"),
    [
        (None, None, "400: there is nothing to embed"),
        (None, ["!"], "422: .*not valid base64"),
        (None, ["http://a/cat.jpg"], "422: .*URL"),
        (None, [IMAGES[0], "aGVsbG8="], "4..: "),
        ("a cat", None, "400: texts must be a list"),
        (["a"] * 9_999, None, "413: texts has 9,999 items"),
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
    assert await Module(running).ready()
    assert (await running.client.get("/.well-known/live")).status_code == 204
    (model,) = (await running.client.get("/v1/models")).json()["data"]
    meta = (await running.client.get("/meta")).json()
    assert meta == {"model": "toy", "fingerprint": model["fingerprint"], "dimensions": DIM}


async def test_before_the_model_is_loaded_the_probe_of_weaviate_is_not_ready(tmp_path: Path) -> None:
    toy = await write_toy_artifact(tmp_path / "toy")
    backend = FakeBackend(DIM)
    async with serving(backend, toy) as running:
        await backend.aclose()
        assert not await Module(running).ready()
        assert (await running.client.get("/.well-known/live")).status_code == 204


async def test_with_keys_the_probes_are_open_and_vectors_are_not(tmp_path: Path) -> None:
    toy = await write_toy_artifact(tmp_path / "toy")
    write_keys(tmp_path / "keys")
    async with serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys") as running:
        module = Module(running)
        assert await module.ready()
        with pytest.raises(RuntimeError, match="fail with status 401"):
            await module.vectorize(["a cat"], None)
