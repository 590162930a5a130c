"""What follows from a manifest: the fingerprint, and the lengths that texts are padded to."""

from __future__ import annotations

from typing import Any

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ImageSpec, TextSpec
from clipserve.demo import FOLDER as DEMO

MANIFEST = read_manifest(DEMO)


def test_the_fingerprint_of_an_artifact_never_changes() -> None:
    assert MANIFEST.fingerprint() == "demo@fp32-b5ccbf64d8be"


# Of the demo model with these images (rows) and texts (columns), as they were before any field was added.
IMAGES: list[dict[str, Any]] = [
    {"size": 224},
    {"size": 336},
    {"size": 224, "resize": "squash"},
    {"size": 384, "resize": "squash", "interpolation": "bilinear"},
    {"size": 448, "interpolation": "bilinear"},
]
TEXTS: list[dict[str, Any]] = [
    {"context_length": 77, "eot_id": 49407},
    {"context_length": 64, "padding": "fixed", "pad_id": 1, "cleaning": "canonicalize"},
    {"context_length": 52, "eot_id": 102, "cleaning": "none"},
    {"context_length": 248, "eot_id": 49407, "cleaning": "whitespace"},
]
DIGESTS = """
    e1bf66ff4fad caa090b713de a4a9a885e57f ec6bfb3bc13d
    e05054de1e8f 828602fc2acb ce746d0922e3 141459c2be5d
    a2b562ef7bc1 2de0c707bcb8 e6cf84a1e122 621e9f13c15a
    264e32d22586 a6ccb69ad6d1 4dfbff5cb184 7f604cc1dd9e
    dc98e9554c1d ebe4c7835d2d c2dfa39861e7 fd2008b75987
"""


class MoreImages(ImageSpec):
    turned: bool = False


class MoreTexts(TextSpec):
    prefix: str = ""


@pytest.mark.parametrize(("images", "texts"), [(ImageSpec, TextSpec), (MoreImages, MoreTexts)])
def test_stored_fingerprints_last_when_a_field_comes_with_its_default(
    images: type[ImageSpec], texts: type[TextSpec]
) -> None:
    specs = [{"image": images(**image), "text": texts(**text)} for image in IMAGES for text in TEXTS]
    made = [MANIFEST.model_copy(update=each).fingerprint().rpartition("-")[2] for each in specs]
    assert made == DIGESTS.split()


def test_a_field_that_came_later_counts_where_it_is_not_the_default() -> None:
    for name, spec in (
        ("image", MoreImages(size=64, turned=True)),
        ("text", MoreTexts(context_length=8, prefix="a")),
    ):
        plain = spec.model_copy(update={"turned": False, "prefix": ""})
        assert len({MANIFEST.model_copy(update={name: each}).fingerprint() for each in (spec, plain)}) == 2


def test_the_fingerprint_names_the_precision_that_computes() -> None:
    assert MANIFEST.fingerprint(precision="bf16") == "demo@bf16-570b1419cafb"
    named = MANIFEST.model_copy(update={"name": "demo@fp32"})
    assert named.fingerprint(precision="bf16") == "demo@bf16-570b1419cafb", "one precision, not two"


def test_the_digest_is_what_it_was_when_the_precision_was_one_of_the_choices() -> None:
    digest = MANIFEST.fingerprint("scaled_decode=true", "precision=bf16").partition("-")[2]
    assert MANIFEST.fingerprint("scaled_decode=true", precision="bf16") == f"demo@bf16-{digest}"
    assert MANIFEST.fingerprint("scaled_decode=true", precision="fp16") != f"demo@fp16-{digest}"


@pytest.mark.parametrize(
    ("tokens", "padded"), [(1, 8), (8, 8), (9, 10), (48, 48), (49, 77), (76, 77), (77, 77)]
)
def test_a_text_is_padded_to_the_smallest_length_that_holds_it(tokens: int, padded: int) -> None:
    assert TextSpec(context_length=77).padded_length(tokens) == padded


def test_where_the_padding_is_fixed_every_text_has_the_context_length() -> None:
    assert TextSpec(context_length=64, padding="fixed").padded_length(3) == 64


def test_a_text_longer_than_the_context_length_has_no_padded_length() -> None:
    with pytest.raises(ValueError, match="78 tokens do not fit"):
        TextSpec(context_length=77).padded_length(78)
