"""`clipserve embed`, with the demo model."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clipserve.__main__ import cli
from clipserve.access.key_file import add_key
from tests.commands.files import photos, run, run_here, start
from tests.label_sets import built
from tests.process import ROOT, Process, waited_until


@pytest.mark.slow
def test_a_folder_becomes_a_file_that_a_search_finds_its_images_in(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "photos", 6, bad=1), tmp_path / "a.npz"
    (folder / "cat.jpg").write_bytes((ROOT / "docs/cat.jpg").read_bytes())
    status, _, errors = run("embed", folder, "--out", out)
    assert status == 1
    assert "8 rows; embedded now: 7" in errors
    assert f"1 have no vector:\n  {folder}/0/00006.jpg: unsupported_format: " in errors
    arrays = np.load(out, allow_pickle=False)
    assert np.linalg.norm(arrays["vector"], axis=1).round(4).tolist() == [1.0] * 6 + [0.0, 1.0]
    assert arrays["size"][0].tolist() == [96, 64]

    # What is there is not embedded again, and the file is the same.
    before = out.read_bytes()
    status, _, errors = run_here("embed", folder, "--out", out)
    assert (status, out.read_bytes() == before) == (1, True)
    assert "8 rows; embedded now: 0" in errors  # that which has failed is tried again, and fails

    page = tmp_path / "found.html"
    status, output, errors = run_here(
        "search", out, "--image", ROOT / "docs/cat.jpg", "--top", "2", "--html", page
    )
    assert (status, errors) == (0, f"{page}: a page with pictures of what was found.\n")
    assert page.read_text().count('src="data:image/jpeg;base64,') == 2
    first, *others = output.splitlines()
    assert len(others) == 1
    assert first == f"1.0000\t{folder}/cat.jpg"

    # Turned or not, the same photo may have another vector.
    for words in (("embed", folder, "--out", out), ("search", out, "a cat")):
        status, _, errors = run_here(*words, CLIPSERVE_EXIF_TRANSPOSE="false")
        assert status == 1
        assert "demo@fp32-" in errors
        assert out.read_bytes() == before


def test_what_is_called_wrongly_is_said_before_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "begun.npz.journal").touch()
    for words, reason in {
        ("embed", "--out", "a.npz"): "name folders or image files",
        ("embed", tmp_path, "--text", "b", "--out", "a.npz"): "name folders or image files",
        ("embed", tmp_path, "--out", "a.csv"): "ends with .npz or .parquet",
        ("embed", tmp_path, "--out", "/nowhere/a.npz"): "no folder /nowhere",
        ("embed", tmp_path / "none", "--out", "a.npz"): "no file or folder",
        ("search", tmp_path, "a cat", "--html", "/nowhere/page.html"): "no folder /nowhere for --html",
        ("search", tmp_path): "say what to look for",
        ("search", tmp_path / "a.npz", "a cat"): "no file or folder",
        ("search", tmp_path / "begun.npz", "a cat"): "begun.npz.journal is of an `embed` that did not end",
        ("classify", "a.jpg"): "--labels",
    }.items():
        said = CliRunner().invoke(cli, list(map(str, words)))
        assert (said.exit_code, reason in said.stderr) == (2, True), (words, said.stderr)
        assert said.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_service_that_refuses_by_rate_and_is_killed_meanwhile_embeds_every_image(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "photos", 8), tmp_path / "a.npz"
    key = add_key(tmp_path / "keys", "tests", ["use"])
    settings: dict[str, str | int] = {
        "keys_file": str(tmp_path / "keys"),
        "rows_per_second": 1,  # far fewer than a slow machine embeds
        "rate_window_seconds": 1,
        "backend": "onnx",
    }
    service = Process(**settings)
    service.wait_ready()
    process = start("embed", folder, "--out", out, "--url", service.url, CLIPSERVE_KEY=key)
    try:
        waited_until(
            lambda: '"rate_limited"' in service.log(), said=service.log
        )  # of those that are sent at once
        service.stop(signal.SIGKILL)
        again = Process(**settings | {"port": int(service.url.rpartition(":")[2])})
        again.wait_ready()
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert key not in errors
    again.stop()
    arrays = np.load(out)
    assert len({vector.tobytes() for vector in arrays["vector"]}) == 8
    assert set(arrays["error"]) == {""}


@pytest.mark.slow
def test_paths_come_from_standard_input_and_texts_from_a_file(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "photos", 3), tmp_path / "a.npz"
    paths = [*sorted(map(str, folder.rglob("*.jpg"))), str(tmp_path / "none.jpg"), "/dev/zero"]
    listed = run("embed", "-", "--out", out, given="\n".join(paths))
    assert listed[0] == 1
    arrays = np.load(out)
    assert arrays["path"].tolist() == paths
    assert arrays["error"].tolist() == ["", "", "", "unreadable_file", "unreadable_file"]

    (tmp_path / "lines.txt").write_text("a cat\n\na photo of a dog\na cat\n" + "many words " * 1_000)
    texts = tmp_path / "texts.npz"
    assert run_here("embed", "--text", tmp_path / "lines.txt", "--out", texts)[0] == 1
    arrays = np.load(texts)
    assert arrays["text"].tolist()[:4] == ["a cat", "", "a photo of a dog", "a cat"]
    assert (arrays["vector"][0] == arrays["vector"][3]).all()
    assert arrays["error"].tolist() == ["", "", "", "", "text_too_long"]
    status, output, _ = run_here("search", texts, "a dog", "--top", "1")
    assert (status, output.partition("\t")[2]) == (0, "a photo of a dog\n")


@pytest.mark.slow
def test_classify_says_json_lines_and_names_what_failed(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 1, bad=1)
    status, output, errors = run_here("classify", folder, "--labels", "cat, car", "--top-k", "1")
    good, bad = map(json.loads, output.splitlines())
    assert (status, good["labels"][0]["label"], good["model"]) == (1, "cat", "demo")
    assert bad["error"]["code"] == "unsupported_format"
    assert f"{folder}/0/00001.jpg: unsupported_format" in errors
    status, _, errors = run_here("classify", folder, "--labels", "cat,cat")
    assert (status, "is the same as label 0" in errors) == (1, True)


@pytest.mark.slow
def test_classify_by_a_label_set_is_the_same_here_and_at_a_service(tmp_path: Path) -> None:
    state = {"CLIPSERVE_STATE_DIR": str(tmp_path / "state")}
    service = Process(state_dir=str(tmp_path / "state"), backend="onnx")
    service.wait_ready()
    built(service.url, "pets", {"labels": ["cat", "dog"]})
    words = ("classify", ROOT / "docs/cat.jpg", "--label-set", "pets")
    there = run_here(*words, "--url", service.url)
    service.stop()
    here = run(*words, **state)
    assert (here[0], there[0]) == (0, 0), (here, there)
    one, other = json.loads(here[1])["labels"], json.loads(there[1])["labels"]
    assert [label["label"] for label in one] == [label["label"] for label in other] == ["cat", "dog"]
    assert one[0]["score"] == pytest.approx(other[0]["score"], abs=1e-4)
