"""The catalog and the names that `export` understands."""

import re

import pytest

from clipserve_models.catalog import Entry, read_catalog, resolve
from clipserve_models.errors import ModelsError

TAGS = {"ViT-B-32": ["openai", "laion2b_s34b_b79k", "datacomp_xl_s13b_b90k", "other"], "ViT-Z": []}


LICENCES = ("MIT", "Apache-2.0", "CC-BY-NC-4.0", "apple-amlr", "apple-sample-code-license")


def test_every_entry_names_its_weights_and_licence() -> None:
    for entry in read_catalog().values():
        assert entry.pretrained, entry.name
        assert entry.licence in LICENCES, entry.name


def test_every_entry_names_a_repository_and_is_pinned_by_commit_and_digest_or_not_at_all() -> None:
    for entry in read_catalog().values():
        assert entry.repository, entry.name
        assert (entry.revision is None) == (entry.digest is None), entry.name
        assert re.fullmatch(r"[0-9a-f]{40}", entry.revision or "0" * 40), entry.name
        assert re.fullmatch(r"[0-9a-f]{64}", entry.digest or "0" * 64), entry.name


def test_no_two_entries_mean_the_same_weights() -> None:
    entries = read_catalog().values()
    assert len({(e.model, e.pretrained) for e in entries}) == len(entries)


@pytest.mark.parametrize(
    ("name", "pretrained", "expected"),
    [
        ("ViT-B-32", None, ("ViT-B-32", "openai", "MIT")),
        ("ViT-B/32", "openai", ("ViT-B-32", "openai", "MIT")),
        ("ViT-B-32-laion2b", None, ("ViT-B-32-laion2b", "laion2b_s34b_b79k", "MIT")),
        ("ViT-B-32", "laion2b_s34b_b79k", ("ViT-B-32-laion2b", "laion2b_s34b_b79k", "MIT")),
        ("ViT-B-32", "other", ("ViT-B-32-other", "other", "unknown: read the card of the weights")),
        ("ViT-Z", None, ("ViT-Z", None, "unknown: read the card of the weights")),
    ],
)
def test_a_name_and_a_tag_mean_one_set_of_weights(
    name: str, pretrained: str | None, expected: tuple[str, str | None, str]
) -> None:
    entry: Entry = resolve(name, pretrained, read_catalog(), TAGS)
    assert (entry.name, entry.pretrained, entry.licence) == expected


@pytest.mark.parametrize(
    ("name", "pretrained", "suggestion"),
    [("vit-b32", None, "ViT-B-32"), ("ViT-B-32", "laion2b_s34b", "laion2b_s34b_b79k"), ("RN5", None, "RN50")],
)
def test_a_wrong_name_suggests_the_right_one(name: str, pretrained: str | None, suggestion: str) -> None:
    with pytest.raises(ModelsError, match=suggestion):
        resolve(name, pretrained, read_catalog(), TAGS)
