"""An evaluation beside open_clip in PyTorch: a service that is right agrees, and one that is not is found out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from PIL import Image

from tests.external.export.test_export import entry
from tests.models.asking import ask

PHOTOS = ("cat", "coffee", "rocket", "astronaut")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each class; one photo lies on its side and a tag says so, one has alpha, one a palette."""
    folder = tmp_path_factory.mktemp("photos")
    for name in PHOTOS:
        (folder / name).mkdir()
        photo = Image.fromarray(getattr(skimage.data, name)())
        photo.save(folder / name / "jpeg.jpg")
        photo.quantize(64).save(folder / name / "palette.png")
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(folder / "astronaut" / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(skimage.data.cat()).save(folder / "cat" / "turned.jpg", exif=exif)
    return folder


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSERVE_BACKEND", "onnx")


def reference_of(photos: Path, artifact: Path, out: Path, *words: str) -> dict[str, Any]:
    """What `evaluate --reference` finds."""
    model = ("--in-process", "--model", str(artifact), "--reference", str(artifact))
    done = ask("evaluate", str(photos), *model, "--out", str(out), *words)
    assert done.returncode == 0, done.stderr
    assert "## Beside open_clip in PyTorch" in done.stdout
    told: dict[str, Any] = json.loads((out / "report.json").read_text())["figures"]["reference"]
    return told


def test_a_service_that_reads_photos_as_open_clip_does_agrees_with_it(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSERVE_EXIF_TRANSPOSE", "false")
    templates = ("--template", "a photo of a {}.", "--template", "{} beside {}")
    for number, words in enumerate(((), templates)):
        told = reference_of(photos, tiny, tmp_path / str(number), *words)
        assert told["of"] == "tiny: open_clip tiny, random weights of seed 0"
        assert (told["items"], told["agreement"], told["differing"], told["mcnemar_p"]) == (10, 1, 0, 1)
        assert told["image_cosine"]["lowest"] > 0.99999
        assert told["text_cosine"]["lowest"] > 0.99999


def test_an_artifact_that_squashes_photos_differs_in_all_that_are_not_square(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    """It says nothing of the pixels of its export, or no service would start with it."""
    squashing = shutil.copytree(tiny, tmp_path / "squashing")
    stored = json.loads((squashing / "model.json").read_text())
    stored["image"]["resize"] = "squash"
    del stored["reference"]["pixels"]
    (squashing / "model.json").write_text(json.dumps(stored))
    told = reference_of(photos, squashing, tmp_path / "out")
    assert {item["item"].partition("/")[0] for item in told["items_that_differ"]} == {*PHOTOS} - {"astronaut"}
    assert told["in_their_files"] == {"none found": 3, "palette": 3, "EXIF orientation 6": 1}
    assert told["text_cosine"]["lowest"] > 0.99999


def test_the_reference_of_an_export_from_a_file_is_that_file(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    import open_clip
    import torch

    from clipserve_models.export import export

    weights, own = tmp_path / "own.pt", tmp_path / "own"
    torch.manual_seed(1)
    torch.save(open_clip.create_model("tiny").state_dict(), weights)
    export(entry("tiny"), own, weights=weights, say=lambda _: None)
    done = ask("evaluate", str(photos), "--in-process", "--model", str(own), "--reference", str(own))
    assert done.returncode == 1
    assert "give it with --weights FILE" in done.stderr
    told = reference_of(photos, own, tmp_path / "out", "--weights", str(weights))
    assert (told["differing"], told["text_cosine"]["lowest"] > 0.99999) == (1, True)


def test_a_model_that_open_clip_does_not_have_cannot_be_a_reference(photos: Path) -> None:
    done = ask("evaluate", str(photos), "--in-process", "--reference", "demo")
    assert done.returncode == 1
    assert "cannot be a reference" in done.stderr
