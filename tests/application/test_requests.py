"""The limits of a request: at the limit it passes, one beyond it does not, and the error has the true numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from tests.support.service import DIM, write_toy_artifact

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


NUMBERED = [f"{number} {{}}" for number in range(9)]
SETS = RequestLimits(max_templates=8, max_label_chars=100)
PROMPT, PROMPTS = RequestLimits(max_prompt_chars=11), RequestLimits(max_prompts_chars=10)
# Limits, templates and labels at the limit and beyond it, and the error of that.
Prompts = tuple[Sequence[str], Sequence[str]]
BEYOND_IN_PROMPTS: list[tuple[RequestLimits, Prompts, Prompts, ClipError]] = [
    (LIMITS, (NUMBERED[:8], "a"), (NUMBERED, "a"), TooMany("9 templates; the limit is 8", limit=8, actual=9)),
    # The name of a set counts as many as the set has.
    (
        SETS,
        (["imagenet-7", "my {}"], "a"),
        (["imagenet-7", "my {}", "plain"], "a"),
        TooMany("9 templates", limit=8, actual=9),
    ),
    (SETS, (["imagenet-7"], "a"), (["imagenet-80"], "a"), TooMany("80 templates", limit=8, actual=80)),
    (
        LIMITS,
        (["12345{}"], "a"),
        (["{}", "123456{}"], "a"),
        TextTooLong("template 1 has 8 characters; the limit is 7", limit=7, actual=8, index=1),
    ),
    (
        PROMPT,
        (["a {} {} ."], ["12", "123"]),  # 5 + 2 x 3
        (["{}", "a {} {} ."], ["12", "1234"]),
        TextTooLong("label 1 makes a prompt of 13 characters; the limit is 11", limit=11, actual=13, index=1),
    ),
    (
        PROMPTS,
        (["a {}"], ["12", "1234"]),  # 4 + 6
        (["a {}"], ["12", "12345"]),
        TooMany("11 characters of prompts .* the limit is 10", limit=10, actual=11),
    ),
]


@pytest.mark.parametrize(("limits", "most", "more", "error"), BEYOND_IN_PROMPTS)
async def test_prompts_at_a_limit_are_accepted_and_those_beyond_it_are_not(
    manifest: ModelManifest, limits: RequestLimits, most: Prompts, more: Prompts, error: ClipError
) -> None:
    assert expanded_templates(*most, manifest, limits)
    with pytest.raises(ClipError, match=error.detail) as caught:
        expanded_templates(*more, manifest, limits)
    assert facts(caught.value) == facts(error)


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
