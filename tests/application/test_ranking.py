"""Which labels an image gets, and with what scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipserve.api.answers import ImageLabels, ImageLabelSets, LabelScore
from clipserve.application.ranking import Ranking, ranked, warnings_of
from clipserve.clip.manifest import ScoringSpec
from clipserve.clip.zeroshot import FloatArray, ScoringFunction, ZeroShotClassifier
from clipserve.errors import UndecodableImage

DIM = 8


def unit_rows(count: int, seed: int) -> FloatArray:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def reference(
    image: Any, labels: Any, background: Any, model: ScoringSpec, ranking: Ranking
) -> list[tuple[int, float, float, float]]:
    """What is returned, by the definitions alone: position of the label, score, cosine, logit."""
    cosines = [float(np.dot(image, row)) for row in (*labels, *background)]
    logits = [model.logit_scale * cosine + model.logit_bias for cosine in cosines]
    scaled = np.array(logits, np.float64) / ranking.temperature
    function = ranking.function or model.function
    if function == "softmax":
        raised = np.exp(scaled - scaled.max())
        scores = raised / raised.sum()
    elif function == "sigmoid":
        scores = np.array([1 / (1 + np.exp(-x)) if x > -500 else 0.0 for x in scaled])
    else:
        scores = np.array(cosines)
    found = list(zip(range(len(labels)), scores, cosines, logits, strict=False))
    if ranking.threshold is not None:
        thresholds = np.broadcast_to(ranking.threshold, len(labels))
        found = [each for each in found if each[1] >= thresholds[each[0]]]
    found.sort(key=lambda each: -each[3])
    return found[: ranking.top_k]


def as_array(values: list[float]) -> FloatArray:
    return np.array(values, np.float32)


functions: st.SearchStrategy[ScoringFunction | None] = st.sampled_from(["softmax", "sigmoid", "cosine", None])
thresholds = st.one_of(
    st.none(), st.floats(-1, 1), st.lists(st.floats(-1, 1), min_size=6, max_size=6).map(as_array)
)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(0, 3),
    functions,
    st.sampled_from([0.01, 0.5, 1.0, 3.0, 100.0]),
    thresholds,
    st.one_of(st.none(), st.integers(1, 8)),
    st.sampled_from(
        [ScoringSpec(logit_scale=100), ScoringSpec(function="sigmoid", logit_scale=117, logit_bias=-17)]
    ),
)
@settings(max_examples=200, deadline=None)
def test_scores_are_those_of_the_definition(
    seed: int,
    count: int,
    background: int,
    function: ScoringFunction | None,
    temperature: float,
    threshold: Any,
    top_k: int | None,
    model: ScoringSpec,
) -> None:
    rows = unit_rows(count + background + 1, seed)
    image, labels, others = rows[0], rows[1 : count + 1], rows[count + 1 :]
    own_threshold = threshold[:count] if isinstance(threshold, np.ndarray) else threshold
    ranking = Ranking(function, temperature, own_threshold, top_k, background)
    names = tuple(map(str, range(count + background)))
    classifier = ZeroShotClassifier(names, rows[1:], model)
    (result,) = ranked([(classifier, ranking)], [image])
    assert isinstance(result, ImageLabels)
    found = result.labels
    expected = reference(image, labels, others, model, ranking)
    rounding = 1e-5 * max(1.0, 1 / temperature)  # a logit of float32, divided
    if threshold is not None:  # a score that is the threshold but for a rounding may be on either side
        everything = reference(
            image, labels, others, model, Ranking(function, temperature, None, None, background)
        )
        limits = np.broadcast_to(own_threshold, count)
        if any(abs(score - limits[k]) < rounding for k, score, *_ in everything):
            return
    assert [each.label for each in found] == [str(k) for k, *_ in expected]
    for each, (_, score, cosine, logit) in zip(found, expected, strict=True):
        assert each.score == pytest.approx(score, abs=1e-5 * max(1.0, 1 / temperature))
        assert each.cosine == pytest.approx(cosine, abs=1e-6)
        assert each.logit == pytest.approx(logit, abs=1e-4)


def classifier(*labels: str) -> ZeroShotClassifier:
    return ZeroShotClassifier(labels, unit_rows(len(labels), 1), ScoringSpec(logit_scale=10))


def labels_of(ranking: Ranking, *labels: str) -> list[LabelScore]:
    (result,) = ranked([(classifier(*labels), ranking)], [unit_rows(1, 2)[0]])
    assert isinstance(result, ImageLabels)
    return list(result.labels)


def test_each_label_may_have_a_threshold_of_its_own() -> None:
    found = labels_of(Ranking(threshold=np.array([-np.inf, 2.0, -np.inf], np.float32)), "a", "b", "c")
    assert sorted(each.label for each in found) == ["a", "c"]


def test_a_label_has_its_id_if_there_is_one() -> None:
    found = {each.label: each.id for each in labels_of(Ranking(ids=("7", None)), "a", "b")}
    assert found == {"a": "7", "b": None}


def test_each_image_is_ranked_by_each_classifier() -> None:
    broken = UndecodableImage("broken")
    first, second = (classifier("a", "b"), Ranking()), (classifier("c"), Ranking())
    result, error = ranked([first, second], [unit_rows(1, 2)[0], broken], ["pets", "cars"])
    assert error is broken
    assert isinstance(result, ImageLabelSets)
    assert [(each.label_set, len(each.labels)) for each in result.label_sets] == [("pets", 2), ("cars", 1)]


@pytest.mark.parametrize(
    ("labels", "ranking", "warned"),
    [
        (("a",), Ranking(), ["a single label"]),
        (("a",), Ranking("softmax"), ["a single label"]),
        (("a",), Ranking("cosine"), []),
        (("a", "b"), Ranking(background=1), []),
        (("a", "b"), Ranking(), []),
        (("a, b",), Ranking("cosine"), ["a label with commas"]),
        (("a, b", "c"), Ranking(), []),
        (("a",), Ranking("sigmoid"), ["the model was trained with softmax"]),
        (("a,b",), Ranking(), ["a label with commas", "a single label"]),
    ],
)
def test_labels_and_scores_that_are_odd_are_warned_of(
    labels: tuple[str, ...], ranking: Ranking, warned: list[str]
) -> None:
    warnings = warnings_of([(classifier(*labels), ranking)] * 2)
    assert [one for one, said in zip(warnings, warned, strict=True) if not one.startswith(said)] == []
