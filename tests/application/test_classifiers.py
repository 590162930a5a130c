"""What is known costs nothing, what was computed is kept, and errors name the caller's label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clipserve.application.classifiers import Classifiers, Prompting
from clipserve.clip.manifest import TextSpec
from clipserve.clip.prompts import fill
from clipserve.engine.backend import Embeddings, Lengths, TokenIds
from clipserve.errors import BackendFailed, InvalidInput, TextTooLong
from clipserve.telemetry.metrics import Metrics
from tests.support.service import DIM, TEXT, Recording, served_model, write_toy_artifact

PLAIN = Prompting(("{}",))
TWO = Prompting(("{}", "a {}"))


def numbered(count: int, first: int = 0) -> tuple[str, ...]:
    """Labels of one length, so that all of a call's prompts are one call of the backend."""
    return tuple(f"{n:04}" for n in range(first, first + count))


class Failing(Recording):
    """Fails in the calls of these numbers, the first being 1."""

    def __init__(self, *calls: int) -> None:
        super().__init__(DIM)
        self._calls = calls

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        vectors = await super().encode_text(token_ids, lengths)
        if len(self.texts) in self._calls:
            raise BackendFailed("bad")
        return vectors


async def toy(
    folder: Path,
    backend: Recording,
    cache_bytes: int = 1_000_000,
    metrics: Metrics | None = None,
    text: TextSpec = TEXT,
) -> Classifiers:
    await write_toy_artifact(folder, text=text)
    await backend.start()
    return served_model(folder, backend, cache_bytes=cache_bytes, metrics=metrics).classifiers


async def mean_of_prompts(folder: Path, label: str, templates: Sequence[str]) -> Embeddings:
    backend = Recording()
    await backend.start()
    encoded = await served_model(folder, backend).texts.encode([fill(each, label) for each in templates])
    mean = np.mean([text.vector for text in encoded], axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


async def test_missing_counts_the_prompts_of_unknown_labels(tmp_path: Path) -> None:
    classifiers = await toy(tmp_path, Recording())
    assert classifiers.missing(("cat", "dog"), PLAIN) == 2
    assert classifiers.missing(("cat", "dog"), TWO) == 4
    await classifiers.get(("cat", "dog"), TWO)
    assert classifiers.missing(("cat", "dog"), TWO) == 0
    assert classifiers.missing(("dog", "cat"), TWO) == 0
    assert classifiers.missing(("dog", "cow", "cat"), TWO) == 2
    assert classifiers.missing(("cat", "dog"), PLAIN) == 2, "of other prompts nothing is known"
    assert classifiers.missing(("cat", "dog"), Prompting(TWO.templates, truncate=True)) == 4


async def test_each_label_has_the_mean_of_its_own_prompts_in_the_order_of_the_labels(tmp_path: Path) -> None:
    classifiers = await toy(tmp_path, Recording())
    labels = ("cat", "mouse", "ox")
    built = await classifiers.get(labels, TWO)
    assert built.classifier.labels == labels
    for embedding, label in zip(built.classifier.label_embeddings, labels, strict=True):
        assert embedding == pytest.approx(await mean_of_prompts(tmp_path, label, TWO.templates), abs=1e-6)
    assert built.classifier.scoring.logit_scale == 10.0


async def test_known_labels_in_a_new_list_cost_no_inference(tmp_path: Path) -> None:
    backend = Recording()
    classifiers = await toy(tmp_path, backend)
    first = await classifiers.get(("cat", "dog", "cow"), PLAIN)
    del backend.texts[:]
    second = await classifiers.get(("cow", "cat"), PLAIN)
    assert backend.texts == []
    assert np.array_equal(second.classifier.label_embeddings, first.classifier.label_embeddings[[2, 0]])
    third = await classifiers.get(("ox", "dog"), PLAIN)
    assert backend.texts == [(1, 8)], "the new label alone"
    assert np.array_equal(third.classifier.label_embeddings[1], first.classifier.label_embeddings[1])


async def test_a_known_list_is_the_same_classifier_without_a_look_at_its_labels(tmp_path: Path) -> None:
    metrics = Metrics()
    classifiers = await toy(tmp_path, Recording(), metrics=metrics)
    first = await classifiers.get(("cat", "dog"), PLAIN)
    assert await classifiers.get(("cat", "dog"), PLAIN) is first

    def seen(cache: str, outcome: str) -> float | None:
        return metrics.registry.get_sample_value(
            "clipserve_cache_total", {"cache": cache, "outcome": outcome}
        )

    assert (seen("classifier", "miss"), seen("classifier", "hit")) == (1, 1)
    assert (seen("label", "miss"), seen("label", "hit")) == (2, None)


@pytest.mark.parametrize(
    ("count", "calls"), [(127, [127]), (128, [128]), (129, [128, 1]), (300, [128, 128, 44])]
)
async def test_labels_are_encoded_128_at_a_time(tmp_path: Path, count: int, calls: list[int]) -> None:
    backend = Recording()
    classifiers = await toy(tmp_path, backend)
    labels = numbered(count)
    built = await classifiers.get(labels, PLAIN)
    assert [rows for rows, _ in backend.texts] == calls
    for n in (0, count // 2, count - 1):
        expected = await mean_of_prompts(tmp_path, labels[n], PLAIN.templates)
        assert built.classifier.label_embeddings[n] == pytest.approx(expected, abs=1e-6)


async def test_what_was_encoded_before_a_failure_is_kept(tmp_path: Path) -> None:
    backend = Failing(3)
    classifiers = await toy(tmp_path, backend)
    labels = numbered(300)
    with pytest.raises(BackendFailed):
        await classifiers.get(labels, PLAIN)
    assert classifiers.missing(labels, PLAIN) == 44
    assert classifiers.missing(labels[:256], PLAIN) == 0
    del backend.texts[:]
    await classifiers.get(labels, PLAIN)
    assert backend.texts == [(44, 8)]


async def test_the_label_of_too_long_a_prompt_is_named_whichever_of_its_templates_it_is(
    tmp_path: Path,
) -> None:
    classifiers = await toy(tmp_path, Recording())
    prompting = Prompting(("{}", "an {}", "a {}"))
    with pytest.raises(TextTooLong, match=r"^label 2 makes a prompt of 13 tokens") as caught:
        await classifiers.get(("cat", "dog", "12345678", "cow"), prompting)  # 8 + 3 + 2 tokens
    error = caught.value
    assert (error.index, error.limit, error.actual) == (2, 12, 13)
    assert "the limit is 12. Shorten the label or the template, or set truncate." in error.detail
    with pytest.raises(TextTooLong, match=r"^label 0 ") as caught:
        await classifiers.get(("12345678901", "cat"), PLAIN)
    assert caught.value.index == 0


async def test_a_label_that_is_not_unicode_is_named_as_a_label(tmp_path: Path) -> None:
    classifiers = await toy(tmp_path, Recording(), text=TEXT.model_copy(update={"cleaning": "none"}))
    with pytest.raises(InvalidInput, match=r"^label 2 is not valid Unicode") as caught:
        await classifiers.get(("cat", "dog", "\ud800"), TWO)
    assert caught.value.index == 2


async def test_too_long_a_label_in_the_second_chunk_has_its_place_in_the_request(tmp_path: Path) -> None:
    classifiers = await toy(tmp_path, Recording())
    await classifiers.get(("0003", "0150"), TWO)  # known labels are in no chunk, but have their places
    labels = (*numbered(200), "12345678901", "cat")
    with pytest.raises(TextTooLong) as caught:
        await classifiers.get(labels, TWO)
    assert caught.value.index == 200
    assert classifiers.missing(labels, TWO) == 2 * (202 - 3 * 64 - 2), "of the chunks before all is kept"


async def test_truncated_labels_are_reported_in_order_also_from_the_caches(tmp_path: Path) -> None:
    classifiers = await toy(tmp_path, Recording())
    cutting = Prompting(("{}", "a {}"), truncate=True)  # "123456789" is too long in the second only
    labels = ("z2345678901", "cat", "123456789", "12345678")
    expected = ("z2345678901", "123456789")
    assert (await classifiers.get(labels, cutting)).truncated == expected
    assert (await classifiers.get(labels, cutting)).truncated == expected
    assert (await classifiers.get(labels[::-1], cutting)).truncated == expected[::-1]
    assert (await classifiers.get(("cat",), cutting)).truncated == ()


async def test_with_no_bytes_nothing_is_kept(tmp_path: Path) -> None:
    backend = Recording()
    classifiers = await toy(tmp_path, backend, cache_bytes=0)
    for _ in range(2):
        await classifiers.get(("cat", "dog"), PLAIN)
        assert classifiers.missing(("cat", "dog"), PLAIN) == 2
    assert backend.texts == [(2, 8), (2, 8)]


FILLER = 10_000  # characters, four bytes each; a vector and the Python objects around it are below 1 kB


@pytest.mark.parametrize(
    ("label", "prompting"),
    [
        ("x" * FILLER, Prompting(("{}",), truncate=True)),
        ("x", Prompting(("{}" + "y" * (FILLER - 2),), truncate=True)),
        (
            "x",
            Prompting(("{}", "{}" + "y" * (FILLER // 2 - 2), "{}" + "z" * (FILLER // 2 - 2)), truncate=True),
        ),
    ],
)
async def test_the_characters_of_a_label_and_of_its_templates_count(
    tmp_path: Path, label: str, prompting: Prompting
) -> None:
    bytes_of_characters = 4 * FILLER
    small = await toy(tmp_path, Recording(), cache_bytes=2 * bytes_of_characters)
    await small.get((label,), prompting)
    assert small.missing((label,), prompting) == len(prompting.templates)
    large = await toy(tmp_path, Recording(), cache_bytes=2 * (bytes_of_characters + 1_000))
    first = await large.get((label,), prompting)
    assert await large.get((label,), prompting) is first
    assert large.missing((label, "new"), prompting) == len(prompting.templates), "it alone is known"


async def test_half_of_the_bytes_are_for_labels_and_half_for_classifiers(tmp_path: Path) -> None:
    half = 50_000
    labels = numbered(400)
    classifiers = await toy(tmp_path, Recording(), cache_bytes=2 * half)
    built = await classifiers.get(labels, PLAIN)
    assert await classifiers.get(labels, PLAIN) is not built, "it alone is larger than its half"
    kept = 400 - classifiers.missing(labels, PLAIN)
    # A label takes about 400 bytes: its characters, its template, its vector and an entry of the cache.
    assert half // 440 <= kept <= half // 360


async def test_a_list_may_be_known_when_its_labels_no_longer_are(tmp_path: Path) -> None:
    backend = Recording()
    labels = numbered(200)
    # In a list a label takes about 150 bytes, alone about 400.
    classifiers = await toy(tmp_path, backend, cache_bytes=2 * 200 * 200)
    built = await classifiers.get(labels, PLAIN)
    assert sum(classifiers.missing((label,), PLAIN) for label in labels) > 0
    assert classifiers.missing(labels, PLAIN) == 0
    assert await classifiers.get(labels, PLAIN) is built


async def test_each_label_of_a_list_and_each_template_counts(tmp_path: Path) -> None:
    """Many short strings are more than their characters: each is a Python object, and each label a vector."""
    labels = numbered(100)
    own = 100 * (4 * 4 + 4 * DIM)  # characters and vectors
    classifiers = await toy(tmp_path, Recording(), cache_bytes=2 * (own + 100 * 49))
    built = await classifiers.get(labels, PLAIN)
    assert await classifiers.get(labels, PLAIN) is not built
    many = Prompting(tuple(f"{{}}{n:02}" for n in range(100)))
    classifiers = await toy(tmp_path, Recording(), cache_bytes=2 * (100 * 4 * 4 + 100 * 49))
    await classifiers.get(("a",), many)
    assert classifiers.missing(("a",), many) == 100
