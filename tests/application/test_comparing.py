"""Similarity, tokens, and the fingerprint that a caller expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipserve.api.answers import ImageVector, ItemSimilarities
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.errors import (
    InvalidInput,
    RateLimited,
    TextTooLong,
    TooMany,
    UndecodableImage,
    WrongFingerprint,
)
from loadtests.fake_backend import FakeBackend
from tests.support.service import (
    CONTEXT,
    DIM,
    inference_of,
    inference_on,
    png,
    served_model,
    write_toy_artifact,
)

BROKEN = b"\x89PNG\r\n\x1a\n"


async def test_each_item_is_compared_with_each_other_in_order(tmp_path: Path) -> None:
    inference = await inference_on(tmp_path)
    request = SimilarityRequest([png(1)], ["a", "b"], [png(2)], ["c"])
    compared = await inference.similarity(request)
    alone = await inference.embed(EmbedRequest([png(1), png(2)], ["a", "b", "c"]))
    first, second, a, b, c = (each.embedding for each in alone.results if isinstance(each, ImageVector))
    for result, own in zip(compared.results, [first, a, b], strict=True):
        assert isinstance(result, ItemSimilarities)
        np.testing.assert_allclose(result.cosine, [own @ second, own @ c], atol=1e-6)
        np.testing.assert_allclose(result.logit, 10 * result.cosine, rtol=1e-5)  # the toy's scale


async def test_a_bad_image_is_a_result_and_one_to_compare_with_fails_the_request(tmp_path: Path) -> None:
    inference = await inference_on(tmp_path)
    bad, good = (await inference.similarity(SimilarityRequest([BROKEN], ["a"], to_texts=["b"]))).results
    assert isinstance(bad, UndecodableImage)
    assert isinstance(good, ItemSimilarities)
    for failing in (
        SimilarityRequest([png()], to_images=[BROKEN]),
        SimilarityRequest([BROKEN], to_texts=["a"]),
    ):
        with pytest.raises(UndecodableImage):
            await inference.similarity(failing)


def test_both_sides_together_are_within_the_limits() -> None:
    limits = RequestLimits(max_images=4)
    with pytest.raises(TooMany, match="5 images; the limit is 4"):
        SimilarityRequest([png()] * 2, to_images=[png()] * 3).check(limits)
    with pytest.raises(TooMany, match="257 texts"):
        SimilarityRequest(texts=["a"] * 256, to_texts=["a"]).check(limits)
    with pytest.raises(InvalidInput, match="nothing to compare with"):
        SimilarityRequest([png()]).check(limits)
    with pytest.raises(InvalidInput, match="nothing to compare:"):
        SimilarityRequest(to_texts=["a"]).check(limits)


async def test_tokens_are_those_that_the_encoder_is_given(tmp_path: Path) -> None:
    inference = await inference_on(tmp_path)
    answer = await inference.tokenize(TokenizeRequest(["ab", "x" * 20]))
    short, long = answer.results
    assert answer.context_length == CONTEXT
    assert (short.ids, short.tokens, short.truncated) == ([1, ord("a"), ord("b"), 2], 4, False)
    assert short.pieces == ["<start>", "a", "b", "<end>"]
    assert (len(long.ids), len(long.pieces), long.tokens, long.truncated) == (CONTEXT, CONTEXT, 22, True)
    assert long.ids[-1] == 2


def test_texts_to_tokenize_have_the_limits_of_texts() -> None:
    for texts, error in (([], InvalidInput), (["a"] * 257, TooMany), (["a" * 8_193], TextTooLong)):
        with pytest.raises(error):
            TokenizeRequest(texts).check(RequestLimits())


async def test_another_fingerprint_is_refused_with_both_names(tmp_path: Path) -> None:
    inference = await inference_on(tmp_path)
    fingerprint = (await inference.embed(EmbedRequest(texts=["a"]))).fingerprint
    for accepted in (fingerprint, "", None):
        await inference.embed(EmbedRequest(texts=["a"], expect_fingerprint=accepted))
    old = "toy@fp32-old"
    for refused in (
        inference.embed(EmbedRequest(texts=["a"], expect_fingerprint=old)),
        inference.classify(ClassifyRequest([png()], ["a"], expect_fingerprint=old)),
        inference.similarity(SimilarityRequest(texts=["a"], to_texts=["a"], expect_fingerprint=old)),
        inference.tokenize(TokenizeRequest(["a"], expect_fingerprint=old)),
    ):
        with pytest.raises(WrongFingerprint, match=f"{fingerprint}, and {old} is expected"):
            await refused


async def test_rows_are_taken_from_the_rate_before_anything_is_computed(tmp_path: Path) -> None:
    charged = []

    async def charge(rows: int) -> None:
        charged.append(rows)
        if len(charged) > 3:
            raise RateLimited("enough", retry_after=1)

    model = served_model(await write_toy_artifact(tmp_path), FakeBackend(DIM))
    await model.start(tmp_path)
    inference = inference_of({"toy": model}, charge=charge)
    await inference.embed(EmbedRequest([png()], ["a", "b"]))
    await inference.classify(ClassifyRequest([png()], ["a", "b"]))
    await inference.classify(ClassifyRequest([png()], ["a", "b"]))  # its labels are in the cache
    assert charged == [3, 3, 1]
    with pytest.raises(RateLimited):
        await inference.similarity(SimilarityRequest(texts=["a"], to_texts=["b"]))
