"""Repositories and hubs that are broken or hostile: a sentence each, nothing in the cache, nothing run."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.hub.conftest import Export
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.hub.repositories import clip, open_clip
from tests.models.layouts.folders import edit, without
from tests.models.pickle_attacks import ATTACKS, Runs
from tests.models.torch_files import write

# What a folder may have wrong is in tests/models/layouts/test_refused.py; here are those that would run something.
_CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a configuration that asks for remote code": (
        lambda at: edit(
            at / "config.json",
            (["model_type"], "own_clip"),
            (["auto_map"], {"AutoModel": "modeling_own.OwnModel"}),
        ),
        r"config\.json: auto_map is .*code of the repository's own, which is never run",
    ),
    "a pickle of 2019": (
        lambda at: _in_place(at).write_bytes(pickle.dumps(Runs())),
        r"pytorch_model\.bin is no file that PyTorch 1\.6 or later has saved",
    ),
    "a pickle that is a bomb": (
        lambda at: write(_in_place(at), b"." * 10_000_000, {}, zipfile.ZIP_DEFLATED),
        "inside is compressed, which PyTorch never does",
    ),
}
_HUBS: dict[str, tuple[dict[str, Any], str]] = {
    "401": ({"status": 401}, r"refused by the hub with 401: set HF_TOKEN"),
    "403": ({"status": 403}, r"asks for consent: accept its conditions on its page, and set HF_TOKEN"),
    "404": ({"status": 404}, r"the hub answers 404"),
    "429": ({"status": 429}, r"429, too many requests: wait some minutes"),
    "half a file": (
        {"half": "model.safetensors"},
        r"could not be downloaded: peer closed connection.*Try again",
    ),
    "nothing": ({"nothing": True}, r"could not be downloaded: Server disconnected.*Try again"),
    "a digest that differs": (
        {"altered": "model.safetensors"},
        r"model\.safetensors has the digest \w{64}, and what was downloaded has \w{64}: .* is removed\. Try again",
    ),
}


def _in_place(folder: Path) -> Path:
    """Of the weights, a pickle that is not there yet."""
    without(folder, "model.safetensors")
    return folder / "pytorch_model.bin"


def check(hub: LocalHub, export: Export, said: str, tmp_path: Path, name: str = "org/name") -> None:
    for code in ("modeling_own.py", "setup.py", "__init__.py"):
        for repo in hub.repos.values():
            repo.files[code] = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
    done = export(name)
    assert done.returncode == 1, done.stdout
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(said, sentence), sentence
    assert sentence.endswith((".", "?"))
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "cache").glob("*"))
    assert not list((tmp_path / "cache").glob(".*"))
    assert not (tmp_path / "ran").exists()
    assert not Path("ran").exists()
    assert not list(tmp_path.glob("hf/**/*.py"))


@pytest.mark.parametrize("name", _CHANGES)
def test_a_sabotaged_repository_is_refused(name: str, hub: LocalHub, export: Export, tmp_path: Path) -> None:
    change, said = _CHANGES[name]
    clip(tmp_path / "repository")
    change(tmp_path / "repository")
    hub.repos["org/name"] = Repo.of(tmp_path / "repository")
    check(hub, export, said, tmp_path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_repository_whose_pickle_is_a_program_is_refused(
    attack: str, hub: LocalHub, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, said = ATTACKS[attack]
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "repository")
    write(_in_place(tmp_path / "repository"), program, {"0": bytes(24)})
    hub.repos["org/name"] = Repo.of(tmp_path / "repository")
    check(hub, export, said, tmp_path)


@pytest.mark.parametrize("name", _HUBS)
def test_a_hub_that_fails_is_told_in_a_sentence(
    name: str, hub: LocalHub, export: Export, tmp_path: Path
) -> None:
    how, said = _HUBS[name]
    clip(tmp_path / "repository")
    hub.repos["org/name"] = Repo.of(tmp_path / "repository", **how)
    check(hub, export, said, tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("org/name@gone", r"at 'gone' does not exist: the repository has no such branch"),
        ("org/absent", r"does not exist, or is private: correct the name, or set HF_TOKEN"),
        ("org/a..b", r"cannot be a repository: Cannot have -- or \.\."),
    ],
)
def test_what_is_not_there_is_said(
    name: str, said: str, hub: LocalHub, export: Export, tmp_path: Path
) -> None:
    clip(tmp_path / "repository")
    hub.repos["org/name"] = Repo.of(tmp_path / "repository")
    check(hub, export, said, tmp_path, name)


def test_a_hub_without_weights_is_told_apart(hub: LocalHub, export: Export, tmp_path: Path) -> None:
    hub.repos["org/name"] = Repo({"config.json": json.dumps({}).encode()}, licence=None)
    check(
        hub,
        export,
        r"has no open_clip_model\.safetensors or model\.safetensors at its top, nor as \.bin.*It has",
        tmp_path,
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm/PE-Core-B-16", r"open_clip is not installed: pip install 'clipserve-models\[export\]'"),
        (
            "org/name",
            r"fastvit_mci0.*only SigLIP's are built.*PyTorch traces other models.*pip install",
        ),
    ],
)
def test_a_family_that_is_traced_says_what_to_install(
    name: str, said: str, hub: LocalHub, export: Export, tmp_path: Path
) -> None:
    open_clip(tmp_path / "repository")
    vision = {"image_size": 256, "timm_model_name": "fastvit_mci0", "timm_pool": "avg", "timm_proj": None}
    edit(tmp_path / "repository/open_clip_config.json", (["model_cfg", "vision_cfg"], vision))
    hub.repos[name] = Repo.of(tmp_path / "repository")
    check(hub, export, said, tmp_path, name)
