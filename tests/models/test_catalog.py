"""The catalog and the names that `export` understands."""

from clipserve_models.catalog import read_catalog

LICENCES = ("MIT", "Apache-2.0", "CC-BY-NC-4.0", "apple-amlr", "apple-sample-code-license")


def test_every_entry_names_its_weights_their_repository_and_licence_and_no_two_the_same() -> None:
    entries = read_catalog().values()
    for entry in entries:
        assert all((entry.pretrained, entry.repository)), entry.name
        assert entry.licence in LICENCES, entry.name
    assert len({(entry.model, entry.pretrained) for entry in entries}) == len(entries)
