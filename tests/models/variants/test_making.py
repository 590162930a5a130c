"""Variants: what the gate lets pass, what the manifest then says, and that the service serves it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.variants.making import make_variant, plan_of
from clipserve_models.variants.samples import read_photos, split
from clipserve_models.verify import Feeds
from tests.models.asking import ask
from tests.support import png, serving

MANIFEST = read_manifest(DEMO)


def copy(source: Path, target: Path, _: Sequence[Feeds]) -> None:
    """The most faithful variant there is."""
    shutil.copyfile(source, target)


def spoil(source: Path, target: Path, _: Sequence[Feeds]) -> None:
    """The image tower's class vectors in another order."""
    data = bytearray(source.read_bytes())
    if source.name == "image.onnx":
        start = data.find(b"classes.rows\x4a") + 20  # the tensor's name, and the tag and length of its bytes
        rows = np.frombuffer(bytes(data[start : start + 999 * 384]), np.int8).reshape(999, 384)
        data[start : start + rows.size] = rows[::-1].tobytes()
    target.write_bytes(data)


@pytest.fixture(scope="module")
def faithful(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("faithful") / "demo@int8"
    assert make_variant(plan_of(DEMO, photos, "int8", out=out), copy) == read_manifest(out)
    return out


def test_a_faithful_variant_is_published_with_its_figures(faithful: Path) -> None:
    made = read_manifest(faithful)
    assert (made.name, made.precision, made.format) == ("demo@int8", "int8", 1)
    assert made.reference == MANIFEST.reference
    record = made.variant
    assert record
    assert (record.method, record.towers, record.labels) == ("static", ["image", "text"], 68)
    assert (record.calibration_photos, record.photos) == (32, 34)
    assert record.made_of == MANIFEST.fingerprint()
    assert record.p1_cosine == pytest.approx(1, abs=1e-6)
    assert record.top1_agreement == 1.0
    assert [path.name for path in faithful.parent.iterdir()] == ["demo@int8"]


def test_a_spoiled_variant_is_refused_with_its_figures_and_deleted(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelsError) as refusal:
        make_variant(plan_of(DEMO, photos, "int8", out=tmp_path / "out"), spoil)
    told = str(refusal.value)
    for words in (
        "image cosine, mean ",
        "at least 0.99)",
        "top-1 agreement 0.",
        "--no-image, which keeps",
        "(32 did)",
    ):
        assert words in told
    assert "text cosine" not in told, "the text tower is as it was"
    assert "--no-text" not in told
    assert not list(tmp_path.iterdir())


async def test_the_service_serves_the_variant_beside_fp32(faithful: Path) -> None:
    async with serving(None, DEMO, faithful, backend="onnx") as running:
        fingerprints = [
            (await running.embed(png(), model=name)).json()["fingerprint"] for name in ("demo", "demo@int8")
        ]
    assert fingerprints[0] == MANIFEST.fingerprint()
    assert fingerprints[1].startswith("demo@int8-")


def test_a_fingerprint_names_the_precision_once() -> None:
    for name in ("demo", "demo@int8"):
        variant = MANIFEST.model_copy(update={"name": name, "precision": "int8"})
        assert variant.fingerprint() == "demo@int8-" + MANIFEST.fingerprint().removeprefix("demo@fp32-")
    assert MANIFEST.model_copy(update={"name": "demo@int8"}).fingerprint().startswith("demo@int8@fp32-")


def test_no_photo_both_calibrates_and_judges(photos: Path) -> None:
    whole = read_photos(photos, MANIFEST.image)
    assert len(whole) == 66
    one, other = split(whole, calibrate=True)
    assert (len(one), len(other)) == (32, 34)
    assert not {p.tobytes() for p in one} & {p.tobytes() for p in other}


def test_a_broken_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(png()[:100])
    with pytest.raises(ModelsError, match=r"torn\.png: the image begins as PNG but is broken"):
        read_photos(tmp_path, MANIFEST.image)


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        ("int8", "found 3 photos; needed are at least 64 (32 to calibrate and 32 others"),
        ("fp16", "least 32"),
    ],
)
def test_too_few_photos_say_how_many_are_needed(precision: str, words: str, tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    options = ("--precision", precision, "--photos", str(tmp_path), "--out", str(tmp_path / "out"))
    result = ask("variant", str(DEMO), *options)
    assert result.returncode == 1
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not an artifact"):
        plan_of(tmp_path, tmp_path, "int8")
    (tmp_path / "model.json").write_text(MANIFEST.model_copy(update={"precision": "int8"}).model_dump_json())
    with pytest.raises(ModelsError, match="is already int8"):
        plan_of(tmp_path, tmp_path, "int8")
    with pytest.raises(ModelsError, match=r"exists\. Remove it, or choose another folder with --out"):
        plan_of(DEMO, tmp_path, "int8", out=tmp_path)
    with pytest.raises(ModelsError, match="nothing to do"):
        plan_of(DEMO, tmp_path, "fp16", towers=())
    assert plan_of(DEMO, tmp_path, "fp16").out == DEMO.with_name("demo@fp16")
