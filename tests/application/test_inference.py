"""The use cases over whole models: who is asked, and which errors fail a request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from clipserve.api.answers import ImageLabels, ImageVector, TextVector
from clipserve.api.fields import ImageInput
from clipserve.api.requests import ClassifyRequest, EmbedRequest
from clipserve.application.inference import Inference
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.errors import (
    BackendUnavailable,
    ClipError,
    TextTooLong,
    TooMany,
    UndecodableImage,
    UnknownModel,
    UnsupportedFormat,
)
from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.conftest import Beside
from tests.support.service import DIM, inference_of, inference_on, png, served_model, write_toy_artifact

BROKEN = b"\x89PNG\r\n\x1a\n"
UNREADABLE = UndecodableImage("it is not base64", index=1)


@pytest.fixture
async def inference(tmp_path: Path) -> Inference:
    return await inference_on(tmp_path)


async def test_models_are_found_by_name_and_the_first_is_meant_without_one(tmp_path: Path) -> None:
    inference = await inference_on(tmp_path, "first", "org--second")
    assert inference.names == ["first", "org--second"]
    second = "org--second"  # a repository of the hub
    for asked, answered in ((None, "first"), ("first", "first"), (second, second), ("org/second", second)):
        embedding = await inference.embed(EmbedRequest(texts=["a"], model=asked))
        assert embedding.model == answered
        assert embedding.fingerprint.startswith(f"{answered}@fp32-")
        classification = await inference.classify(ClassifyRequest([png()], ["a"], model=asked))
        assert classification.model == answered
        assert classification.fingerprint == embedding.fingerprint


async def test_an_unknown_model_is_refused_with_the_names_of_the_known(tmp_path: Path) -> None:
    inference = await inference_on(tmp_path, "first", "second")
    with pytest.raises(UnknownModel, match="Served: first, second"):
        await inference.embed(EmbedRequest(texts=["a"], model="third"))
    with pytest.raises(UnknownModel):
        await inference.classify(ClassifyRequest([png()], ["a"], model=""))


@pytest.mark.parametrize(("count", "jobs"), [(256, 0), (257, 1)])
async def test_more_than_1024_scores_are_ranked_in_a_thread(
    beside: Beside, tmp_path: Path, count: int, jobs: int
) -> None:
    backend = FakeBackend(DIM)
    model = served_model(await write_toy_artifact(tmp_path), backend)
    await model.start(tmp_path)
    inference = inference_of({"toy": model})
    request = ClassifyRequest([png()] * 4, [str(i) for i in range(count)])
    await inference.classify(request)  # the labels are encoded
    beside.jobs = 0
    answer = await inference.classify(request)
    assert beside.jobs == jobs
    for result in answer.results:
        assert isinstance(result, ImageLabels)
        logits = [each.logit for each in result.labels]
        assert logits == sorted(logits, reverse=True)


async def test_a_model_that_is_not_started_is_not_asked(tmp_path: Path) -> None:
    backend = FakeBackend(DIM)
    await backend.start()
    model = served_model(await write_toy_artifact(tmp_path), backend)
    inference = inference_of({"toy": model})
    with pytest.raises(BackendUnavailable, match="still loading"):
        await inference.embed(EmbedRequest(texts=["a"]))
    with pytest.raises(BackendUnavailable, match="still loading"):
        await inference.classify(ClassifyRequest([png()], ["a"]))
    assert not await inference.ready()
    assert [state.ready for state in await inference.models()] == [False]


async def test_the_service_is_not_ready_before_its_label_sets_are(tmp_path: Path) -> None:
    inference = await inference_on(tmp_path)
    assert not await inference.ready()
    await inference.label_sets.start()
    assert await inference.ready()
    await inference.label_sets.aclose()


async def test_one_model_that_is_away_makes_the_service_not_ready(tmp_path: Path) -> None:
    models = {}
    for name in ("first", "second"):
        models[name] = served_model(await write_toy_artifact(tmp_path / name, name=name), FakeBackend(DIM))
        await models[name].start(tmp_path / name)
    inference = inference_of(models)
    inference.label_sets.started = True
    assert await inference.ready()
    await models["second"].aclose()
    assert not await inference.ready()
    states = await inference.models()
    assert [state.ready for state in states] == [True, False]
    assert states[0].fingerprint == models["first"].manifest.fingerprint()


async def test_limits_of_what_depends_on_the_model_are_checked(inference: Inference) -> None:
    with pytest.raises(TooMany, match="templates"):
        await inference.classify(ClassifyRequest([png()], ["a"], ["{}"] * 101))


async def test_an_item_of_a_stream_is_checked(inference: Inference) -> None:
    assert isinstance(await inference.embed_item(EmbedRequest(texts=["a" * 8_193])), TextTooLong)


async def test_where_every_image_is_bad_the_request_fails_with_the_error_of_the_first(
    inference: Inference,
) -> None:
    several: list[list[ImageInput]] = [[b"text", BROKEN], [b"text", UNREADABLE]]
    for images in several:
        for asked in (
            inference.classify(ClassifyRequest(images, ["a", "b"])),
            inference.embed(EmbedRequest(images)),
            inference.embed(EmbedRequest(images), all_or_nothing=True),
        ):
            with pytest.raises(UnsupportedFormat) as caught:
                await asked
            assert caught.value.index == 0


async def test_the_error_of_one_image_of_several_is_a_result(inference: Inference) -> None:
    images: list[ImageInput] = [png(1), BROKEN, UNREADABLE, png(2)]
    classification = await inference.classify(ClassifyRequest(images, ["a", "b"]))
    embedding = await inference.embed(EmbedRequest(images))
    results: Sequence[Sequence[Any]] = (classification.results, embedding.results)
    for each in results:
        assert [isinstance(result, ClipError) for result in each] == [False, True, True, False]
        assert isinstance(each[1], UndecodableImage)
        assert each[1].index == 1
        assert each[2] is UNREADABLE


async def test_all_or_nothing_makes_the_error_of_one_image_that_of_the_request(inference: Inference) -> None:
    with pytest.raises(UndecodableImage) as caught:
        await inference.embed(EmbedRequest([png(1), BROKEN, b"text"], ["a"]), all_or_nothing=True)
    assert caught.value.index == 1
    whole = await inference.embed(EmbedRequest([png(1), png(2)], ["a"]), all_or_nothing=True)
    assert [type(result) for result in whole.results] == [ImageVector, ImageVector, TextVector]


async def test_a_text_is_answered_beside_images_that_are_all_bad(inference: Inference) -> None:
    embedding = await inference.embed(EmbedRequest([BROKEN], ["a"]))
    assert [type(result) for result in embedding.results] == [UndecodableImage, TextVector]


class Watched(FakeBackend):
    """Notes how many rows are in flight while it works."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(DIM)
        self._metrics = metrics
        self.seen: set[tuple[float, float]] = set()  # images, texts

    def _note(self) -> None:
        def rows(tower: str) -> float:
            name = "clipserve_rows_in_flight"
            return self._metrics.registry.get_sample_value(name, {"tower": tower}) or 0

        self.seen.add((rows("image"), rows("text")))

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        self._note()
        return await super().encode_image(pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        self._note()
        return await super().encode_text(token_ids, lengths)


async def test_images_and_texts_to_encode_are_counted_as_in_flight(tmp_path: Path) -> None:
    metrics = Metrics()
    backend = Watched(metrics)
    model = served_model(await write_toy_artifact(tmp_path), backend, metrics=metrics)
    await model.start(tmp_path)
    inference = inference_of({"toy": model})
    assert backend.seen == {(0, 0)}, "the self-test is no request"

    async def seen(request: ClassifyRequest | EmbedRequest) -> set[tuple[float, float]]:
        backend.seen.clear()
        if isinstance(request, ClassifyRequest):
            await inference.classify(request)
        else:
            await inference.embed(request)
        return backend.seen

    assert await seen(EmbedRequest([png()] * 2, ["a"] * 3)) == {(2, 3)}
    assert await seen(ClassifyRequest([png()] * 3, ["a", "b"], ["{}", "my {}"])) == {(3, 4)}
    assert await seen(ClassifyRequest([png()], ["b", "a"], ["{}", "my {}"])) == {(1, 0)}
