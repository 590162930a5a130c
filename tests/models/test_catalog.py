"""The catalog and the names that `export` understands."""

import pytest

from clipserve_models.catalog import read_catalog, unknown

LICENCES = ("MIT", "Apache-2.0", "CC-BY-NC-4.0", "apple-amlr", "apple-sample-code-license")


def test_every_entry_names_its_weights_their_repository_and_licence() -> None:
    for entry in read_catalog().values():
        assert entry.pretrained, entry.name
        assert entry.repository, entry.name
        assert entry.licence in LICENCES, entry.name


def test_no_two_entries_mean_the_same_weights() -> None:
    entries = read_catalog().values()
    assert len({(e.model, e.pretrained) for e in entries}) == len(entries)


@pytest.mark.parametrize(("name", "suggestion"), [("vit-b32", "ViT-B-32"), ("RN5", "RN50")])
def test_a_wrong_name_suggests_the_right_one(name: str, suggestion: str) -> None:
    assert suggestion in str(unknown(name))
