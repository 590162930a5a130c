"""What follows from a manifest: the fingerprint, and the lengths that texts are padded to."""

from __future__ import annotations

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import TextSpec
from clipserve.demo import FOLDER as DEMO

MANIFEST = read_manifest(DEMO)


def test_the_fingerprint_of_an_artifact_never_changes() -> None:
    assert MANIFEST.fingerprint() == "demo@fp32-b5ccbf64d8be"


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
