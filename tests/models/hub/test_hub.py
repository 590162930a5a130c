"""Models by their name on the hub: what is downloaded, at which commit, and what the artifact says of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve_models.catalog import read_catalog
from tests.models.hub.conftest import Export
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.hub.repositories import LAYOUTS
from tests.models.layouts.folders import transformers_folder, without
from tests.models.torch_files import write_torch
from tests.models.towers import CLIP
from tests.process import ROOT

OTHERS = {"pytorch_model.bin": b"pickle", "modeling_own.py": b"raise SystemExit", "README.md": b"#"}


def repo(tmp_path: Path, layout: str = "clip", **how: object) -> Repo:
    LAYOUTS[layout](tmp_path / layout)
    made = Repo.of(tmp_path / layout, **how)
    made.files |= OTHERS
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
    assert (source.checkpoint, source.revision, source.licence) == (
        f"{hub.url}/org/name",
        served.commit,
        "mit",
    )
    assert source.files
    assert source.files == {name: hashlib.sha256(served.files[name]).hexdigest() for name in source.files}
    assert any(name.endswith(".safetensors") for name in source.files)
    assert not [each for each in served.asked if re.search(r"\.(bin|py|md)$", each)]


def test_a_revision_is_another_artifact(hub: LocalHub, export: Export, tmp_path: Path) -> None:
    hub.repos["org/name"] = repo(tmp_path, branches=("main", "v2"), licence=None)
    assert export("org/name@v2").returncode == 0
    manifest = read_manifest(tmp_path / "cache/org--name@v2")
    assert (manifest.name, manifest.source.licence) == (
        "org--name@v2",
        f"not stated: read {hub.url}/org/name",
    )


def test_a_name_and_a_licence_may_be_told(hub: LocalHub, export: Export, tmp_path: Path) -> None:
    hub.repos["org/name"] = repo(tmp_path, licence=None)
    assert export("org/name", "--name", "mine", "--licence", "CC0-1.0").returncode == 0
    manifest = read_manifest(tmp_path / "cache/mine")
    assert (manifest.name, manifest.source.licence) == ("mine", "CC0-1.0")


def test_a_pickle_is_downloaded_where_there_is_nothing_else(
    hub: LocalHub, export: Export, tmp_path: Path
) -> None:
    arrays = transformers_folder(tmp_path / "clip", CLIP)
    without(tmp_path / "clip", "model.safetensors")
    write_torch(tmp_path / "clip/pytorch_model.bin", arrays)
    hub.repos["openai/clip"] = Repo.of(tmp_path / "clip")
    done = export("openai/clip")
    assert done.returncode == 0, done.stderr
    assert "pytorch_model.bin" in (read_manifest(tmp_path / "cache/openai--clip").source.files or {})


def test_sentence_transformers_repository_is_downloaded_with_its_folder(
    hub: LocalHub, export: Export, tmp_path: Path
) -> None:
    inner = repo(tmp_path)
    modules = [{"path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    files = {f"0_CLIPModel/{name}": content for name, content in inner.files.items()}
    hub.repos["st/clip"] = served = Repo(
        files | {"modules.json": json.dumps(modules).encode(), "x/y.json": b"{}"}
    )
    done = export("st/clip")
    assert done.returncode == 0, done.stderr
    assert not [each for each in served.asked if each.endswith(("x/y.json", ".bin", ".py"))]


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


def test_pins_are_written_into_the_catalog_and_other_weights_are_refused(
    hub: LocalHub, tmp_path: Path
) -> None:
    served = repo(tmp_path, "open-clip")
    hub.repos |= {entry.repository: served for entry in read_catalog().values() if entry.repository}
    # A copy of the package has a catalog of its own.
    own = Path(shutil.copytree(ROOT / "models/clipserve_models", tmp_path / "own/clipserve_models"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        variables = {"PYTHONPATH": os.pathsep.join(map(str, (own.parent, ROOT / "service", ROOT / "models")))}
        command = [sys.executable, "-P", "-m", *words]
        return subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, timeout=300, check=False
        )

    assert run("tools.pin").returncode == 0
    digest = hashlib.sha256(served.files["open_clip_model.safetensors"]).hexdigest()
    for entry in read_catalog(own / "catalog.toml").values():
        assert (entry.revision, entry.digest) == (served.commit, digest)
    assert run("clipserve_models", "export", "ViT-B-32").returncode == 0
    assert read_manifest(tmp_path / "cache/ViT-B-32").source.licence == "MIT"

    served.files["open_clip_model.safetensors"] += b" "
    refused = run("clipserve_models", "export", "ViT-B-16")
    assert f"has the SHA-256 {digest}, which the catalog has of the weights of ViT-B-16" in refused.stderr
