"""Models by their name on the hub: what is downloaded, at which commit, and what the artifact says of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from tests.models.hub.conftest import Export
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.written import LAYOUTS

OTHERS = {
    "pytorch_model.bin": b"pickle",
    "modeling_own.py": b"raise SystemExit",
    "x/y.json": b"{}",
    "a.md": b"#",
}


def repo(tmp_path: Path, layout: str = "clip", **how: object) -> Repo:
    """With files that nobody needs."""
    LAYOUTS[layout](tmp_path / layout)
    made = Repo.of(tmp_path / layout, **how)
    made.files = OTHERS | made.files
    return made


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repository_becomes_an_artifact_that_says_where_it_is_from(
    layout: str, hub: LocalHub, export: Export, tmp_path: Path
) -> None:
    hub.repos["org/name"] = served = repo(tmp_path, layout)
    done = export("org/name")
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(tmp_path / "cache/org--name")
    assert manifest.name == "org--name"
    source = manifest.source
    where = (source.checkpoint, source.revision, source.licence)
    assert where == (f"{hub.url}/org/name", served.commit, "mit")
    contents = {name.rpartition("/")[2]: content for name, content in served.files.items()}
    assert source.files == {
        name: hashlib.sha256(contents[name]).hexdigest() for name in source.files or ["none"]
    }
    weights = ".bin" if layout == "pickled" else ".safetensors"
    assert any(name.endswith(weights) for name in source.files or {})
    needless = (".py", ".md", "x/y.json", *([] if layout == "pickled" else [".bin"]))
    assert not [each for each in served.asked if each.endswith(needless)]


@pytest.mark.parametrize(
    ("name", "told", "licence"),
    [
        ("org--name@v2", (), "not stated: read {}/org/name"),
        ("mine", ("--name", "mine", "--licence", "CC0-1.0"), "CC0-1.0"),
    ],
)
def test_a_revision_is_another_artifact_and_what_is_told_is_said(
    name: str, told: tuple[str, ...], licence: str, hub: LocalHub, export: Export, tmp_path: Path
) -> None:
    hub.repos["org/name"] = repo(tmp_path, branches=("main", "v2"), licence=None)
    assert export("org/name@v2", *told).returncode == 0
    manifest = read_manifest(tmp_path / "cache" / name)
    assert (manifest.name, manifest.source.licence) == (name, licence.format(hub.url))


def test_a_model_that_is_traced_is_refused_without_pytorch_before_its_download(
    hub: LocalHub, export: Export
) -> None:
    refused = export("MobileCLIP2-S0")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "MobileCLIP2-S0 is not built from its weights: PyTorch traces it, but" in refused.stderr
    assert "is not installed: pip install 'clipserve-models[export]'" in refused.stderr


def test_what_was_downloaded_is_enough_offline(hub: LocalHub, export: Export, tmp_path: Path) -> None:
    hub.repos["org/name"] = served = repo(tmp_path)
    first = export("org/name").stdout.splitlines()[-1]
    del hub.repos["org/name"]
    again = export("org/name", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1].split(":")[-1] == first.split(":")[-1], "equal weights, equal bytes"
    assert read_manifest(tmp_path / "cache/org--name").source.revision == served.commit
    missing = export("org/other", HF_HUB_OFFLINE="1")
    assert "could not be downloaded: HF_HUB_OFFLINE forbids downloads" in missing.stderr


def test_a_download_that_was_altered_is_removed_and_the_next_succeeds(
    hub: LocalHub, export: Export, tmp_path: Path
) -> None:
    hub.repos["org/name"] = repo(tmp_path, altered="model.safetensors")
    assert "is removed. Try again" in export("org/name").stderr
    hub.repos["org/name"].altered = None
    assert export("org/name").returncode == 0
