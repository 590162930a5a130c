"""What is wrong with the files of an artifact is said in one line."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import TextSpec
from clipserve.clip.tokenizer import load_tokenizer
from tests.support.service import write_toy_artifact

NAN = float("nan")


def told(read: Callable[[], object]) -> str:
    """Why it cannot be read: one line of moderate length."""
    with pytest.raises(ArtifactError) as raised:
        read()
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 600
    return said


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    return await write_toy_artifact(tmp_path / "toy")


def changed(folder: Path, change: dict[str, Any]) -> None:
    """Change model.json; a value that is a table is merged into the one that is there."""
    path = folder / "model.json"
    manifest = json.loads(path.read_text())
    for key, value in change.items():
        manifest[key] = {**manifest[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embed_dim": 7}, "a reference vector has 16 numbers; embed_dim is 7"),
        ({"embed_dim": 65_537}, "embed_dim: it should be less than or equal to 65536"),
        ({"reference": {"text_embeddings": [["x"]]}}, "0.0: it should be a valid number, unable"),
        ({"image": {"size": 4_097}}, "image.size: it should be less than or equal to 4096"),
        ({"text": {"context_length": 200_000}}, "text.context_length: it should be less"),
        ({"text": {"pad_id": -1}}, "text.pad_id: it should be greater than or equal to 0"),
        ({"text": {"eot_id": 2**31}}, "text.eot_id: it should be less than or equal to 2147483647"),
        ({"scoring": {"logit_scale": NAN}}, "scoring.logit_scale: it should be"),
        ({"scoring": {"logit_bias": NAN}}, "scoring.logit_bias: it should be"),
        ({"reference": {"image_embeddings": [[0.5] * 16, [1.0]]}}, "a reference vector has 1 numbers"),
        ({"files": {"more\0": ""}}, r"a file that cannot be in its folder: 'more\x00'"),
        ({"x" * 101: 1}, f"manifest: {'x' * 100}: Extra inputs"),
        ({"w": 1, "x": 1, "y": 1, "z": 1}, "and 1 more faults"),
    ],
)
async def test_a_fault_of_the_manifest(folder: Path, change: dict[str, Any], said: str) -> None:
    changed(folder, change)
    assert said in told(lambda: read_manifest(folder))


@pytest.mark.parametrize("missing", ["image.onnx", "text.onnx", "tokenizer.json"])
def test_each_of_the_three_files_needs_a_checksum(folder: Path, missing: str) -> None:
    path = folder / "model.json"
    manifest = json.loads(path.read_text())
    del manifest["files"][missing]
    path.write_text(json.dumps(manifest))
    assert f"has no checksum of {missing}:" in told(lambda: read_manifest(folder))


def large(path: Path) -> None:
    """A file of 20 GB that takes no place on the disk."""
    with path.open("wb") as file:
        file.truncate(20_000_000_000)


def pipe(path: Path) -> None:
    """Whoever reads it all the same finds its end, and does not wait for ever."""
    path.unlink()
    os.mkfifo(path)
    threading.Thread(target=lambda: path.open("wb").close(), daemon=True).start()


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def subfolder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def holding(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (large, "model.json in it cannot be read: more than 20,000,000 bytes"),
        (pipe, "model.json in it cannot be read: not a regular file"),
        (link_to_itself, "model.json in it cannot be read: Too many levels of symbolic links"),
        (subfolder, "model.json in it cannot be read: not a regular file"),
        (Path.unlink, "it has no model.json"),
        (holding(b""), "Invalid JSON: EOF"),
        (holding(b'{"name": "\xff\xfe"}'), "Invalid JSON: invalid unicode code point"),
        (holding("{}".encode("utf-16")), "Invalid JSON: expected value"),
        (holding(b"[" * 300_000), "Invalid JSON: recursion limit exceeded"),
        (holding(b"[]"), "Input should be an object"),
    ],
)
def test_a_model_json_that_is_none(folder: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(folder / "model.json")
    assert said in told(lambda: read_manifest(folder))


WORDS = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}
WITHOUT_UNKNOWN = json.dumps({"version": "1.0", "added_tokens": [], "model": WORDS}).encode()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (large, "tokenizer.json cannot be read: more than 100,000,000 bytes"),
        (Path.unlink, "tokenizer.json cannot be read: No such file"),
        (holding(b""), "tokenizer.json is not a tokenizer:"),
        (holding(b"\xff\xfe\0"), "tokenizer.json is not a tokenizer:"),
        (holding(b"{}"), "tokenizer.json is not a tokenizer:"),
        (holding(b"[" * 300_000), "tokenizer.json is not a tokenizer:"),
        (holding(WITHOUT_UNKNOWN), "tokenizer.json is not a tokenizer: WordLevel error: Missing"),
    ],
)
def test_a_tokenizer_that_is_none(folder: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(folder / "tokenizer.json")
    assert said in told(lambda: load_tokenizer(folder, TextSpec(context_length=12)))
