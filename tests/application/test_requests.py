"""The limits of a request: at the limit it passes, one beyond it does not, and the error has the true numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipserve.api.limits import RequestLimits
from clipserve.api.requests import ClassifyRequest, EmbedRequest
from clipserve.application.requests import check_dimensions, expanded_templates
from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.errors import (
    ClipError,
    InvalidInput,
    TextTooLong,
    TooMany,
)
from tests.support import DIM, write_toy_artifact

LIMITS = RequestLimits(
    max_images=3,
    max_texts=4,
    max_text_chars=5,
    max_labels=6,
    max_label_chars=7,
    max_label_bytes=20,
    max_templates=8,
)


def classify(**fields: Any) -> None:
    given: dict[str, Any] = {"images": [b"image"], "labels": ["a"]}
    ClassifyRequest(**given | fields).check(LIMITS)


def embed(**fields: Any) -> None:
    EmbedRequest(**fields).check(LIMITS)


def facts(error: ClipError) -> tuple[type[ClipError], float | None, float | None, int | None]:
    return type(error), error.limit, error.actual, error.index


@pytest.fixture
async def manifest(tmp_path: Path) -> ModelManifest:
    return read_manifest(await write_toy_artifact(tmp_path, prompt_templates=["one {}", "two {}"]))


TOO_LONG = {
    "text 2": TextTooLong("text 2 has 6 characters; the limit is 5", limit=5, actual=6, index=2),
    "label 1": TextTooLong("label 1 has 8 characters; the limit is 7", limit=7, actual=8, index=1),
}
IMAGE, LABELS = b"image", ["1234567", "abcdefg", "öö", "xy"]  # of 7 + 7 + 4 + 2 bytes in UTF-8
# A check, a field of its request, a value at the limit and one beyond it, and the error of that.
BEYOND: list[tuple[Callable[..., None], str, Any, Any, ClipError]] = [
    (classify, "images", [IMAGE] * 3, [IMAGE] * 4, TooMany("4 images; the limit is 3", limit=3, actual=4)),
    (embed, "images", [IMAGE] * 3, [IMAGE] * 4, TooMany("4 images; the limit is 3", limit=3, actual=4)),
    (embed, "texts", ["a"] * 4, ["a"] * 5, TooMany("5 texts; the limit is 4", limit=4, actual=5)),
    (embed, "texts", ["12345", "ööööö"], ["12345", "1", "123456", "1234567"], TOO_LONG["text 2"]),
    (classify, "labels", [*"abcdef"], [*"abcdefg"], TooMany("7 labels; the limit is 6", limit=6, actual=7)),
    (classify, "labels", ["1234567", "a"], ["a", "12345678"], TOO_LONG["label 1"]),
    (classify, "labels", LABELS, [*LABELS, "x"], TooMany("21 bytes of labels; .* 20", limit=20, actual=21)),
    (classify, "labels", ["\ud800"], ["a", "\t\n"], InvalidInput("label 1 is empty", index=1)),
    (classify, "labels", ["a", "A", "a "], [*"abca"], InvalidInput("label 3 is .* as label 0", index=3)),
    (classify, "labels", ["a"], [], InvalidInput("send at least one label")),
    (classify, "images", [IMAGE], [], InvalidInput("send at least one image")),
    (embed, "images", [IMAGE], [], InvalidInput("send at least one image or text")),
    (classify, "top_k", 1, 0, InvalidInput("top_k is 0; it must be at least 1", limit=1, actual=0)),
]


@pytest.mark.parametrize(
    ("check", "field", "most", "more", "error"),
    BEYOND,
    ids=[f"{case[1]}: {case[4].detail}" for case in BEYOND],
)
def test_a_request_at_a_limit_is_accepted_and_one_beyond_it_is_not(
    check: Callable[..., None], field: str, most: Any, more: Any, error: ClipError
) -> None:
    check(**{field: most})
    with pytest.raises(ClipError, match=error.detail) as caught:
        check(**{field: more})
    assert facts(caught.value) == facts(error)


def expanded(manifest: ModelManifest, *templates: str) -> tuple[str, ...]:
    return expanded_templates(templates, ["a"], manifest, LIMITS)


async def test_without_templates_the_model_s_own_are_taken(manifest: ModelManifest) -> None:
    assert expanded(manifest) == ("one {}", "two {}")
    assert expanded(manifest, "my {}") == ("my {}",)


async def test_a_model_s_own_templates_are_expanded_too(tmp_path: Path) -> None:
    manifest = read_manifest(await write_toy_artifact(tmp_path, prompt_templates=["stl10", "my {label}"]))
    own = expanded_templates([], ["a"], manifest, RequestLimits())
    assert own == ("a photo of a {}.", "a photo of the {}.", "my {}")


async def test_as_many_templates_as_the_limit_are_accepted_and_one_more_is_not(
    manifest: ModelManifest,
) -> None:
    assert len(expanded(manifest, *(f"{n} {{}}" for n in range(8)))) == 8
    with pytest.raises(TooMany, match="9 templates; the limit is 8") as caught:
        expanded(manifest, *(f"{n} {{}}" for n in range(9)))
    assert facts(caught.value) == (TooMany, 8, 9, None)


async def test_the_name_of_a_set_counts_as_many_as_the_set_has(manifest: ModelManifest) -> None:
    limits = RequestLimits(max_templates=8, max_label_chars=100)
    assert len(expanded_templates(["imagenet-7", "my {}"], ["a"], manifest, limits)) == 8
    with pytest.raises(TooMany, match="9 templates") as caught:
        expanded_templates(["imagenet-7", "my {}", "plain"], ["a"], manifest, limits)
    assert facts(caught.value) == (TooMany, 8, 9, None)
    with pytest.raises(TooMany) as caught:
        expanded_templates(["imagenet-80"], ["a"], manifest, limits)
    assert facts(caught.value) == (TooMany, 8, 80, None)


async def test_a_template_as_long_as_the_limit_is_accepted_and_one_longer_is_named(
    manifest: ModelManifest,
) -> None:
    assert expanded(manifest, "12345{}") == ("12345{}",)
    with pytest.raises(TextTooLong, match="template 1 has 8 characters; the limit is 7") as caught:
        expanded(manifest, "{}", "123456{}")
    assert facts(caught.value) == (TextTooLong, 7, 8, 1)


async def test_a_prompt_as_long_as_the_limit_is_accepted_and_one_longer_is_named(
    manifest: ModelManifest,
) -> None:
    limits = RequestLimits(max_prompt_chars=11)
    expanded_templates(["a {} {} ."], ["12", "123"], manifest, limits)  # 5 + 2 x 3
    with pytest.raises(
        TextTooLong, match="label 1 makes a prompt of 13 characters; the limit is 11"
    ) as caught:
        expanded_templates(["{}", "a {} {} ."], ["12", "1234"], manifest, limits)
    assert facts(caught.value) == (TextTooLong, 11, 13, 1)


async def test_prompts_together_as_long_as_the_limit_are_accepted_and_one_character_more_is_not(
    manifest: ModelManifest,
) -> None:
    templates, labels = ["{}", "a {} {}"], ["12", "1234"]  # 6 + 2 * 3 + 2 * 6
    expanded_templates(templates, labels, manifest, RequestLimits(max_prompts_chars=24))
    with pytest.raises(TooMany, match=r"24 characters of prompts .* the limit is 23") as caught:
        expanded_templates(templates, labels, manifest, RequestLimits(max_prompts_chars=23))
    assert facts(caught.value) == (TooMany, 23, 24, None)


async def test_a_thousand_labels_of_64_kb_fit_the_80_templates_of_imagenet(manifest: ModelManifest) -> None:
    labels = [f"{index:065}" for index in range(1_000)]
    request = ClassifyRequest([b"image"], labels, ["imagenet-80"])
    request.check(RequestLimits())
    assert len(expanded_templates(request.templates, labels, manifest, RequestLimits())) == 80


async def test_dimensions_are_the_model_s_own_or_none(tmp_path: Path) -> None:
    manifest = read_manifest(await write_toy_artifact(tmp_path))
    check_dimensions(DIM, manifest)
    for dimensions in (1, DIM - 1, DIM + 1):
        with pytest.raises(InvalidInput, match="cannot be cut") as caught:
            check_dimensions(dimensions, manifest)
        assert facts(caught.value) == (InvalidInput, DIM, dimensions, None)
