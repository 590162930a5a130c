"""Repositories and hubs that are broken or hostile: a sentence each, nothing in the cache, nothing run.

What a folder may have wrong is in tests/models/layouts/test_refused.py; here are those that would run something.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.models.hub.conftest import Export
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.changes import Change, both, gone, holds, told
from tests.models.layouts.saved import WEIGHTS
from tests.models.layouts.written import LAYOUTS
from tests.models.pickle_attacks import ATTACKS, Runs
from tests.models.torch_files import write

BIN, NOTHING = "pytorch_model.bin", both()
FASTVIT = {"image_size": 256, "timm_model_name": "fastvit_mci0", "timm_pool": "avg", "timm_proj": None}


def row(
    what: str, said: str, change: Change = NOTHING, layout: str = "clip", name: str = "org/name", **hub: Any
) -> Any:
    """`change`: of the folder that the hub has as org/name. `name`: that is asked for. `hub`: see `Repo`."""
    return pytest.param(layout, change, hub, name, said, id=what)


def program(content: bytes, how: int = zipfile.ZIP_STORED) -> Change:
    """In place of the pickle of weights."""
    return both(gone(WEIGHTS), lambda at: write(at / BIN, content, {"0": bytes(24)}, how))


TRACED = told("open_clip_config.json model_cfg.vision_cfg", FASTVIT)
SABOTAGED = [
    *(row(what, said, program(attack)) for what, (attack, said) in ATTACKS.items()),
    row(
        "a pickle of 2019",
        r"pytorch_model\.bin is no file that PyTorch 1\.6 or later has saved",
        both(gone(WEIGHTS), holds(BIN, pickle.dumps(Runs()))),
    ),
    row(
        "a pickle that is a bomb",
        "inside is compressed, which PyTorch never does",
        program(b"." * 10_000_000, zipfile.ZIP_DEFLATED),
    ),
    row(
        "a configuration that asks for remote code",
        r"config\.json: auto_map is .*code of the repository's own, which is never run",
        both(
            told("config.json model_type", "own_clip"),
            told("config.json auto_map", {"AutoModel": "modeling_own.OwnModel"}),
        ),
    ),
    row(
        "no weights",
        r"has no open_clip_model\.safetensors or model\.safetensors at its top, nor as \.bin.*It has",
        gone(WEIGHTS),
    ),
    row(
        "a family that is traced",
        "fastvit_mci0.*only SigLIP's and plain ViTs are built.*PyTorch traces other models.*pip install",
        TRACED,
        "open-clip",
    ),
    row("401", "refused by the hub with 401: set HF_TOKEN", status=401),
    row("403", "asks for consent: accept its conditions on its page, and set HF_TOKEN", status=403),
    row("404", "the hub answers 404", status=404),
    row("429", "429, too many requests: wait some minutes", status=429),
    row("half a file", "could not be downloaded: peer closed connection.*Try again", half=WEIGHTS),
    row("nothing", "could not be downloaded: Server disconnected.*Try again", nothing=True),
    row(
        "a digest that differs",
        r"model\.safetensors has the digest \w{64}, and what was downloaded has \w{64}: .* is removed\. Try again",
        altered=WEIGHTS,
    ),
    row(
        "no such branch", "at 'gone' does not exist: the repository has no such branch", name="org/name@gone"
    ),
    row(
        "no such repository",
        "does not exist, or is private: correct the name, or set HF_TOKEN",
        name="org/absent",
    ),
    row("no name", r"org/a\.\.b.* cannot be a repository: Cannot have -- or \.\.", name="org/a..b"),
]


@pytest.mark.parametrize(("layout", "change", "how", "name", "said"), SABOTAGED)
def test_a_sabotaged_repository_is_refused(
    layout: str,
    change: Change,
    how: dict[str, Any],
    name: str,
    said: str,
    hub: LocalHub,
    export: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where attacks would write
    folder = tmp_path / "repository"
    both(LAYOUTS[layout], change)(folder)
    for code in ("modeling_own.py", "setup.py", "__init__.py"):
        (folder / code).write_text("open('ran', 'w')")
    hub.repos["org/name"] = Repo.of(folder, **how)
    done = export(name)
    assert done.returncode == 1, done.stdout
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(said, sentence), sentence
    assert sentence.endswith((".", "?"))
    assert "Traceback" not in done.stderr
    assert not [*(tmp_path / "cache").glob("*"), *(tmp_path / "cache").glob(".*")]
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.glob("hf/**/*.py"))
