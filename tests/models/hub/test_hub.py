"""Models by their name on the hub: what is downloaded, at which commit, and what the artifact says of it."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import httpx
import pytest

from clipserve.clip.artifact import read_manifest
from tests.models.hub.conftest import Export
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.written import LAYOUTS
from tests.support.process import LIGHT, PATIENT, Fresh

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


@pytest.mark.slow
def test_repositories_are_served_by_their_names_from_nothing_without_pytorch(
    hub: LocalHub, tmp_path: Path
) -> None:
    assert importlib.util.find_spec("torch") is None
    hub.repos |= {f"org/{layout}": repo(tmp_path, layout) for layout in LAYOUTS}
    service = Fresh(models=",".join(hub.repos), **LIGHT, **PATIENT)
    service.wait_ready(300)
    for layout in LAYOUTS:
        told = {"texts": ["a cat"], "model": f"org/{layout}"}
        answer = httpx.post(f"{service.url}/embed", json=told, timeout=60)
        assert answer.json()["fingerprint"].startswith(f"org--{layout}@fp32-"), answer.text
    assert service.stop()[0] == 0
    made = {path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()}
    assert made == {f"org--{layout}" for layout in LAYOUTS}, "and nothing half"
