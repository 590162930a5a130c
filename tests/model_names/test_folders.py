"""A folder of any kind is the same folder to the service, to commands, to an export and to the doctor."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.layouts.changes import write_json
from tests.models.layouts.written import clip, modules, open_clip, pickled
from tests.support.process import LIGHT, ROOT, Process, copy_of_demo, get

SECONDS = 300  # to notice a hang


def of_today(folder: Path) -> None:
    """As sentence-transformers 6 saves a CLIP."""
    clip(folder)
    kind = "sentence_transformers.base.modules.transformer.Transformer"
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": kind}])


KINDS: dict[str, Callable[[Path], Any]] = {
    "artifact": lambda folder: copy_of_demo(folder.parent).rename(folder),
    "transformers": clip,
    "open_clip": open_clip,
    "pickles": pickled,
    "sentence-transformers": modules,
    "sentence-transformers of today": of_today,
}
BY_DAY = ("artifact", "sentence-transformers")


def command(*words: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "clipserve", *words]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize(
    "kind", [pytest.param(each, marks=[pytest.mark.slow] * (each not in BY_DAY)) for each in KINDS]
)
def test_every_door_takes_a_folder_for_the_same(
    kind: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, artifact = tmp_path / "mine", kind == "artifact"
    KINDS[kind](folder)
    monkeypatch.setenv("CLIPSERVE_BACKEND", "onnx")
    monkeypatch.setenv("CLIPSERVE_MODELS", str(folder))
    monkeypatch.setenv("CLIPSERVE_DECODE_PROCESSES", "false")

    found = {each["name"]: each for each in json.loads(command("doctor", "--json").stdout)["findings"]}
    assert "hub" not in found, "it needs none"
    assert found["start"]["level"] == ("ok" if artifact else "problem"), found
    assert artifact or "mine is a folder of weights, of which" in found["start"]["found"]

    done = command("models", "export", str(folder), "--out", str(tmp_path / "out"))
    assert (done.returncode, "an artifact already" in done.stderr) == (int(artifact), artifact), done.stderr

    service = Process(models=str(folder), **LIGHT)
    service.wait_ready()
    (served,) = get(service.url + "/v1/models").json()["data"]
    service.stop()
    done = command(
        "classify", str(ROOT / "docs/cat.jpg"), "--labels", "cat,dog", "--model", str(folder), "--json"
    )
    assert json.loads(done.stdout)["model"] == served["id"], done.stderr
    assert command("models", "verify", str(folder)).stdout.startswith(served["fingerprint"])
