"""What is answered, and in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipserve.api.answers import Embeddings, ImageLabels, ImageVector, LabelScore, TextVector
from clipserve.api.requests import ClassifyRequest, EmbedRequest
from clipserve.application.inference import Inference
from clipserve.engine.backend import Vector
from clipserve.errors import TextTooLong
from tests.support.service import inference_on, png


@pytest.fixture
async def inference(tmp_path: Path) -> Inference:
    return await inference_on(tmp_path)


def ranked(result: object) -> list[LabelScore]:
    assert isinstance(result, ImageLabels)
    return list(result.labels)


def names(result: object) -> list[str]:
    return [scored.label for scored in ranked(result)]


def vectors(embeddings: Embeddings) -> list[Vector]:
    return [each.embedding for each in embeddings.results if isinstance(each, ImageVector)]


async def test_vectors_are_in_the_order_of_the_request(inference: Inference) -> None:
    images, texts = [png(1), png(2), png(1)], ["a", "123456789", "b"]
    together = vectors(await inference.embed(EmbedRequest(images, texts)))
    alone = [vectors(await inference.embed(EmbedRequest([image]))) for image in images]
    alone += [vectors(await inference.embed(EmbedRequest(texts=[text]))) for text in texts]
    assert len(together) == 6
    for one, (other,) in zip(together, alone, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(together[0], together[2])
    assert len({each.tobytes() for each in together}) == 5


async def test_labels_come_best_first_with_the_scores_of_their_own(inference: Inference) -> None:
    labels = ["cat", "dog", "cow", "ox", "mouse"]
    images = [png(1), png(2)]
    classification = await inference.classify(ClassifyRequest(images, labels))
    embedding = vectors(await inference.embed(EmbedRequest(images, labels)))
    for image, result in zip(embedding[:2], classification.results, strict=True):
        cosines = {label: float(image @ text) for label, text in zip(labels, embedding[2:], strict=True)}
        assert names(result) == sorted(labels, key=lambda label: -cosines[label])
        total = sum(np.exp(10.0 * cosine) for cosine in cosines.values())
        for scored in ranked(result):
            cosine = cosines[scored.label]
            assert scored.cosine == pytest.approx(cosine, abs=1e-5)
            assert scored.logit == pytest.approx(10.0 * cosine, abs=1e-4)
            assert scored.score == pytest.approx(np.exp(10.0 * cosine) / total, abs=1e-5)
    assert names(classification.results[0]) != names(classification.results[1])


async def test_equal_logits_keep_the_order_of_the_labels(inference: Inference) -> None:
    # The tokenizer lowers the case: 64 labels of one vector, between others.
    same = ["".join(c.upper() if n >> i & 1 else c for i, c in enumerate("abcdef")) for n in range(64)]
    labels = ["cat", *same, "dog"]
    (result,) = (await inference.classify(ClassifyRequest([png()], labels))).results
    found = ranked(result)
    assert len({scored.logit for scored in found}) < 10, "there is hardly a tie"
    assert found == sorted(found, key=lambda scored: (-scored.logit, labels.index(scored.label)))


async def test_the_templates_of_the_request_go_before_the_model_s_own(tmp_path: Path) -> None:
    inference = await inference_on(tmp_path, prompt_templates=["my {label}"])

    async def cosine(*templates: str) -> float:
        request = ClassifyRequest([png()], ["cat"], templates)
        return ranked((await inference.classify(request)).results[0])[0].cosine

    image, mine, plain = vectors(await inference.embed(EmbedRequest([png()], ["my cat", "cat"])))
    assert await cosine() == await cosine("my {}") == pytest.approx(float(image @ mine), abs=1e-5)
    assert await cosine("{label}") == await cosine("plain")
    assert await cosine("plain") == pytest.approx(float(image @ plain), abs=1e-5)


async def test_long_texts_and_labels_are_truncated_only_if_asked(inference: Inference) -> None:
    long = "12345678901"
    with pytest.raises(TextTooLong) as caught:
        await inference.embed(EmbedRequest(texts=["a", long]))
    assert caught.value.index == 1
    with pytest.raises(TextTooLong) as caught:
        await inference.classify(ClassifyRequest([png()], ["a", long]))
    assert caught.value.index == 1
    embedding = await inference.embed(EmbedRequest(texts=["a", long], truncate=True))
    texts = [each for each in embedding.results if isinstance(each, TextVector)]
    assert [text.truncated for text in texts] == [False, True]
    classification = await inference.classify(ClassifyRequest([png()], ["a", long], truncate=True))
    assert classification.truncated_labels == (long,)
    whole = await inference.classify(ClassifyRequest([png()], ["a"], truncate=True))
    assert whole.truncated_labels == ()
