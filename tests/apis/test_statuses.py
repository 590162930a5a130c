"""One table of statuses: the same faults through every endpoint of REST, the adapters among them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from tests.apis.places import place
from tests.support.service import Running, png

GOOD = base64.b64encode(png()).decode()
BROKEN = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
URI = "data:image/png;base64,"


class Ask(NamedTuple):
    """A request. `$image` stands for an image in base64, and MODEL for the name of the model."""

    path: str
    body: Any
    model: str = "model"  # the field with the name of the model; empty: there is none


def of(**fields: Any) -> dict[str, Any]:
    return fields


HUGGING_FACE = of(candidate_labels=["a"], hypothesis_template="a {}")
IMAGES = {
    "classify": Ask("/classify", of(images=["$image"], labels=["a"])),
    "embed": Ask("/embed", of(images=["$image"])),
    "similarity": Ask("/similarity", of(images=["$image"], to_texts=["a"])),
    "openai": Ask("/v1/embeddings", of(input=["a", f"{URI}$image"])),
    "cohere": Ask("/v2/embed", of(model="MODEL", images=[f"{URI}$image"])),
    "cohere, mixed": Ask(
        "/v2/embed",
        of(inputs=[of(content=[of(type="text", text="a")]), of(content=[of(image_url=f"{URI}$image")])]),
    ),
    "voyage": Ask("/v1/multimodalembeddings", of(inputs=[of(content=[of(image_base64=f"{URI}$image")])])),
    "llama.cpp": Ask("/embeddings", of(content=["a", of(prompt_string="", multimodal_data=["$image"])])),
    "rerank": Ask("/rerank", of(query="a", documents=["a", of(image="$image")])),
    "rerank, by image": Ask("/v1/rerank", of(query=of(image="$image"), documents=["a"])),
    "weaviate": Ask("/vectorize", of(images=["$image"], texts=["a"]), model=""),
    "hugging face": Ask("/models/MODEL", of(inputs="$image", parameters=HUGGING_FACE)),
}
TEXTS = {
    "embed": Ask("/embed", of(texts=["a"])),
    "similarity": Ask("/similarity", of(texts=["a"], to_texts=["b"])),
    "openai": Ask("/v1/embeddings", of(input="a")),
    "cohere": Ask("/v2/embed", of(texts=["a", "b"])),
    "voyage": Ask("/v1/multimodalembeddings", of(inputs=[of(content=[of(type="text", text="a")])])),
    "llama.cpp": Ask("/embeddings", of(content="a")),
    "rerank": Ask("/v2/rerank", of(query="a", documents=["a"])),
    "weaviate": Ask("/vectorize", of(texts=["a"]), model=""),
}
ASKS = [
    *(pytest.param(ask, id=f"an image: {name}") for name, ask in IMAGES.items()),
    *(pytest.param(ask, id=f"a text: {name}") for name, ask in TEXTS.items()),
]


def filled(value: Any, image: str, model: str) -> Any:
    if isinstance(value, str):
        return value.replace("$image", image).replace("MODEL", model)
    if isinstance(value, dict):
        return {name: filled(each, image, model) for name, each in value.items()}
    return [filled(each, image, model) for each in value]


async def asked(running: Running, ask: Ask, image: str = GOOD, model: str = "toy") -> httpx.Response:
    path, body = filled(ask.path, image, model), filled(ask.body, image, model)
    if ask.model and "MODEL" not in ask.path:
        body |= {ask.model: model}
    return await running.client.post(path, json=body)


Places = tuple[Running, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def places(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Places]:
    """A service as usual, one whose engine is away, and one whose engine fails."""
    async with AsyncExitStack() as stack:
        names = ("usual", "away", "failing")
        opened = [place(name, tmp_path_factory.mktemp(name)) for name in names]
        yield tuple([(await stack.enter_async_context(each))[0] for each in opened])


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("ask", ASKS)
async def test_each_fault_has_one_status_in_every_endpoint(places: Places, ask: Ask) -> None:
    usual, away, failing = places
    assert (await asked(usual, ask)).status_code == 200
    late = await asked(away, ask)
    assert (late.status_code, late.headers.get("retry-after")) == (503, "1"), late.text
    assert "backend_unavailable" in late.text
    failed = await asked(failing, ask)
    assert (failed.status_code, "backend_failed" in failed.text) == (502, True), failed.text
    garbage = await usual.client.post(
        filled(ask.path, "", "toy"), content=b"[", headers={"content-type": "application/json"}
    )
    assert garbage.status_code == 400
    if ask.model:
        assert (await asked(usual, ask, model="none")).status_code == 404
    if "$image" in str(ask.body):
        broken = await asked(usual, ask, BROKEN)
        assert (broken.status_code, "undecodable_image" in broken.text) == (422, True), broken.text


@pytest.mark.asyncio(loop_scope="module")
async def test_every_endpoint_that_encodes_is_in_the_table(places: Places) -> None:
    document = (await places[0].client.get("/openapi.json")).json()
    asked = {ask.path for ask in (*IMAGES.values(), *TEXTS.values())}
    others = {"/predict", "/tokenize"}  # a form, below; nothing is encoded
    posted = {
        path.replace("{model}", "MODEL") for path, methods in document["paths"].items() if "post" in methods
    }
    assert posted == asked | others


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("kind", "part"),
    [("visual", {"image": ("a.png", png())}), ("textual", {"text": (None, "a")})],
)
async def test_immich_s_form_has_the_same_statuses(places: Places, kind: str, part: dict[str, Any]) -> None:
    entries = f'{{"clip": {{"{kind}": {{"modelName": "toy"}}}}}}'
    for running, status in zip(places, (200, 503, 502), strict=True):
        answer = await running.client.post("/predict", files={"entries": (None, entries), **part})
        assert (answer.status_code, answer.headers.get("retry-after")) == (
            status,
            "1" if status == 503 else None,
        )
