"""`clipserve embed`, with the demo model."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clipserve.__main__ import cli
from clipserve.access.key_file import add_key
from clipserve.client.index import Facts, Index
from clipserve.commands.vectors.places import NAME, index_of
from tests.commands.files import photos, run, run_here, start
from tests.commands.hostile import good_but, path_of, serving
from tests.support.label_sets import built
from tests.support.process import ROOT, Process, waited_until

FACTS = Facts("toy", "toy@1", 2)


@pytest.mark.slow
def test_a_folder_becomes_a_file_that_a_search_finds_its_images_in(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "photos", 6, bad=1), tmp_path / "a.npz"
    (folder / "cat.jpg").write_bytes((ROOT / "docs/cat.jpg").read_bytes())
    status, output, errors = run("embed", folder, "--npz", out, "--json")
    assert status == 1
    assert "8 rows; embedded now: 7." in errors
    assert "failed: 1\n  0/00006.jpg: unsupported_format: " in errors
    said = json.loads(output)
    assert (said["rows"], said["embedded"], said["failed"]) == (8, 7, 1)
    assert Path(said["index"]) == folder / ".clipserve.sqlite"
    with np.load(out, allow_pickle=False) as file:
        arrays = dict(file)
    assert np.linalg.norm(arrays["vector"], axis=1).round(4).tolist() == [1.0] * 6 + [0.0, 1.0]
    assert arrays["size"][0].tolist() == [96, 64]

    # What is there is not embedded again, and the arrays are the same.
    before = out.read_bytes()
    status, _, errors = run_here("embed", folder, "--npz", out)
    assert (status, out.read_bytes() == before) == (1, True)
    assert "8 rows; embedded now: 0.\nfailed: 1\n" in errors, (
        "that which has failed is tried again, and fails"
    )

    page, stamps = tmp_path / "found.html", state(folder)
    status, output, errors = run_here(
        "search", folder, "--image", ROOT / "docs/cat.jpg", "--top", "2", "--html", page
    )
    assert (status, errors) == (0, f"{page}: a page with pictures of what was found.\n")
    assert page.read_text().count('src="data:image/jpeg;base64,') == 2
    first, *others = output.splitlines()
    assert (first, len(others)) == ("1.0000\tcat.jpg", 1)
    assert state(folder) == stamps, "a search of an unchanged folder writes nothing"

    # Turned or not, the same photo may have another vector.
    for words in (
        ("embed", folder),
        ("search", folder, "a cat"),
        ("search", folder / ".clipserve.sqlite", "a cat"),
    ):
        status, _, errors = run_here(*words, CLIPSERVE_EXIF_TRANSPOSE="false")
        assert (status, "cannot be compared" in errors) == (1, True), errors
        assert state(folder) == stamps


def state(folder: Path) -> list[tuple[str, int, int]]:
    """What a write would change of a folder and the files in it."""
    return sorted(
        (str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in (folder, *folder.iterdir())
    )


def test_a_folder_and_its_index_follow_each_other(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 4) / "0"
    with serving(good_but({})) as (url, requests):

        def searched() -> int:
            """How many images it embeds."""
            before = len([each for each in requests if path_of(each) == "/embed"])
            done = run_here("search", folder, "a cat", "--url", url, "--top", "9")
            assert done[0] == 0, done
            names = [line.partition("\t")[2] for line in done[1].splitlines()]
            assert sorted(names) == sorted(path.name for path in folder.glob("*.jpg"))
            return len([each for each in requests if path_of(each) == "/embed"]) - before - 1  # the sentence

        assert [searched(), searched()] == [4, 0]
        (folder / "00001.jpg").unlink()
        os.utime(folder / "00002.jpg", ns=(7, 7))
        (folder / "new.jpg").write_bytes((folder / "00003.jpg").read_bytes())
        assert [searched(), searched()] == [2, 0]


def test_a_search_beside_an_embed_takes_the_rows_of_now(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 2) / "0"
    with serving(good_but({})) as (url, _), closing(Index(folder / NAME)) as index:
        assert run_here("search", folder, "a cat", "--url", url)[0] == 0
        photos(tmp_path / "photos", 3)
        index.begin(index.facts or FACTS)
        status, output, errors = run_here("search", folder, "a cat", "--url", url)
        assert (status, output.count("\n")) == (0, 2)
        assert "an `embed` is under way: searched are the 2 rows of now." in errors
        status, _, errors = run_here("embed", folder, "--url", url)
        assert (status, "is in use: another command writes it now" in errors) == (1, True)


def test_the_index_of_a_folder_that_cannot_be_written_lies_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = photos(tmp_path / "photos", 2) / "0", tmp_path / "cache"
    cached = {"CLIPSERVE_CACHE_DIR": str(cache)}
    with serving(good_but({})) as (url, requests):
        assert run_here("search", folder, "a cat", "--url", url, **cached)[0] == 0
        assert not cache.exists()
        (folder / NAME).rename(folder / "kept")
        monkeypatch.setattr(
            os, "access", lambda path, mode: mode == os.R_OK or Path(path) != folder
        )  # as of a mount that is read-only
        for own in (False, True):
            if own:
                (folder / "kept").rename(folder / NAME)
                shutil.rmtree(cache)
                requests.clear()
            status, output, errors = run_here("search", folder, "a cat", "--url", url, **cached)
            assert (status, output.count("\n")) == (0, 2)
            (index,) = (cache / "indexes").iterdir()
            assert f"its index is {index}" in errors
        assert len([each for each in requests if path_of(each) == "/embed"]) == 1, (
            "rows of the folder are taken over"
        )


def test_a_file_system_without_locks_has_its_index_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    assert index_of(tmp_path, tmp_path / "cache") == tmp_path / NAME
    monkeypatch.setattr(fcntl, "lockf", refused)
    assert index_of(tmp_path, tmp_path / "cache").parent == tmp_path / "cache/indexes"


def test_an_index_that_has_no_place_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = photos(tmp_path / "photos", 1), tmp_path / "a file"
    cache.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    for words in (("embed", folder), ("search", folder, "a cat")):
        status, _, errors = run_here(*words, CLIPSERVE_CACHE_DIR=str(cache))
        assert (status, errors.count("\n")) == (1, 1), words
        assert f"{cache}/indexes neither: Not a directory" in errors
        assert "CLIPSERVE_CACHE_DIR" in errors


def test_outputs_are_written_over_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos(tmp_path / "photos", 1)
    (tmp_path / "link").symlink_to(folder / "0/00000.jpg")
    os.mkfifo(tmp_path / "fifo")
    refused: dict[str, tuple[Path, ...]] = {
        "a folder, a link or a device": (tmp_path, tmp_path / "link", tmp_path / "fifo")
    }
    refused |= {"is the index": (folder / NAME,), "of another kind": (folder / "0/00000.jpg",)}
    with serving(good_but({})) as (url, _):
        assert run_here("embed", folder, "--url", url)[0] == 0
        for words in (("search", folder, "a cat", "--html"), ("embed", folder, "--npz")):
            before = state(folder), state(folder / "0")
            for reason, paths in refused.items():
                for path in paths:
                    status, _, errors = run_here(*words, path, "--url", url)
                    assert (status, reason in errors) == (2, True), errors
            assert (state(folder), state(folder / "0")) == before
            out = tmp_path / "out"
            out.write_text("notes")
            out.chmod(0o600)
            assert run_here(*words, out, "--url", url, "--force")[0] == 0
            assert run_here(*words, out, "--url", url)[0] == 0, "a file of the same kind is made again"
            assert (out.stat().st_mode & 0o777, len(out.read_bytes()) > 100) == (0o600, True)
            with monkeypatch.context() as full:
                full.setattr(os, "fsync", raising(OSError(errno.ENOSPC, "No space left on device")))
                there = out.read_bytes()
                status, _, errors = run_here(*words, out, "--url", url)
            said = f"clipserve: {out}: cannot be written: No space left on device"
            assert (status, errors.splitlines()[-1]) == (1, said)
            assert ([each.name for each in tmp_path.glob(".*")], out.read_bytes()) == ([], there)
            out.unlink()


def test_damaged_rows_are_named_and_embedded_again_and_a_damaged_index_is_set_aside(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 6) / "0"
    one = np.array([1, 0], "<f4")
    damage = [b"\0" * 8, (one * np.nan).tobytes(), (one * 1e30).tobytes(), one.tobytes()[:7], "text"]
    with serving(good_but({})) as (url, requests):
        assert run_here("embed", folder, "--url", url)[0] == 0
        with closing(sqlite3.connect(folder / NAME)) as database, database:
            for number, vector in enumerate(damage):
                database.execute("UPDATE items SET vector = ? WHERE name = ?", (vector, f"{number:05}.jpg"))
        status, output, errors = run_here("search", folder, "a cat", "--url", url)
        assert (status, output) == (1, "1.0000\t00005.jpg\n"), errors
        assert all(f"{number:05}.jpg" in errors for number in range(5)), errors
        requests.clear()
        status, _, errors = run_here("embed", folder, "--url", url)
        assert (status, errors.count(" was damaged: "), "embedded now: 5." in errors) == (0, 5, True), errors
        assert run_here("search", folder, "a cat", "--url", url)[1].count("\n") == 6
        (folder / NAME).write_bytes(b"no database" * 99)
        status, _, errors = run_here("embed", folder, "--url", url)
        assert (status, "`clipserve embed --rebuild`" in errors) == (1, True)
        assert run_here("embed", folder, "--url", url, "--rebuild")[0] == 0
        assert run_here("search", folder, "a cat", "--url", url)[1].count("\n") == 6
        assert (folder / f"{NAME}.damaged").read_bytes() == b"no database" * 99


def raising(error: OSError) -> Callable[[object], None]:
    def called(_: object) -> None:
        raise error

    return called


def test_rows_of_an_index_stay_until_they_are_pruned(tmp_path: Path) -> None:
    one, other = photos(tmp_path / "one", 2), photos(tmp_path / "other", 3)
    words: list[str | Path] = ["--index", tmp_path / "a.sqlite", "--npz", tmp_path / "a.npz"]
    with serving(good_but({})) as (url, _):
        run_here("embed", one, *words, "--url", url)
        _, _, errors = run_here("embed", other, *words, "--url", url)
        assert "5 rows, 2 of them from earlier and not named now; embedded now: 3." in errors
        with np.load(tmp_path / "a.npz") as file:
            assert len(file["path"]) == 5
        run_here("embed", other, *words, "--url", url, "--prune")
    with np.load(tmp_path / "a.npz") as file:
        assert {Path(path).parts[-3] for path in file["path"]} == {"other"}


def test_what_is_called_wrongly_is_said_before_a_model_is_loaded(tmp_path: Path) -> None:
    for words, reason in {
        ("embed", "--index", "a.sqlite"): "name folders or image files",
        ("embed", tmp_path, "--npz", "/nowhere/a.npz"): "no folder /nowhere",
        ("embed", tmp_path / "none", "--index", "a.sqlite"): "no file or folder",
        ("embed", tmp_path / "none"): "no file or folder",
        ("embed", ROOT / "docs/cat.jpg"): "--index FILE",
        ("search", tmp_path, "a cat", "--html", "/nowhere/page.html"): "no folder /nowhere for page.html",
        ("search", tmp_path): "say what to look for",
        ("search", tmp_path / "a.sqlite", "a cat"): "no folder or index",
        ("classify", "a.jpg"): "--labels",
    }.items():
        said = CliRunner().invoke(cli, list(map(str, words)))
        assert (said.exit_code, reason in said.stderr) == (2, True), (words, said.stderr)
        assert said.stderr.count("\n") == 1


def test_a_search_of_an_index_without_vectors_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").touch()
    with serving(good_but({})) as (url, _):
        status, output, errors = run_here("search", tmp_path / "a.sqlite", "a cat", "--url", url)
    assert (status, output, errors) == (0, "", f"{tmp_path / 'a.sqlite'} has no vectors.\n")


def test_a_search_says_whose_vectors_an_index_has_if_the_service_lacks_that_model(tmp_path: Path) -> None:
    with closing(Index(tmp_path / "a.sqlite")) as index:
        index.begin(FACTS._replace(model="other", fingerprint="other@1"))
    with serving(good_but({})) as (url, _):
        status, _, errors = run_here("search", tmp_path / "a.sqlite", "a cat", "--url", url)
    assert (status, "a.sqlite has vectors of other@1, and the server has no model other. It" in errors) == (
        1,
        True,
    )


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
    process = start("embed", folder, "--npz", out, "--url", service.url, CLIPSERVE_KEY=key)
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
    with np.load(out) as file:
        arrays = dict(file)
    assert len({vector.tobytes() for vector in arrays["vector"]}) == 8
    assert set(arrays["error"]) == {""}


@pytest.mark.slow
def test_paths_come_from_standard_input(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "photos", 3), tmp_path / "a.npz"
    paths = [*sorted(map(str, folder.rglob("*.jpg"))), str(tmp_path / "none.jpg"), "/dev/zero"]
    index: list[str | Path] = ["--index", tmp_path / "a.sqlite"]
    listed = run("embed", "-", *index, "--npz", out, given="\n".join(paths))
    assert listed[0] == 1
    with np.load(out) as file:
        arrays = dict(file)
    assert arrays["path"].tolist() == paths
    assert arrays["error"].tolist() == ["", "", "", "unreadable_file", "unreadable_file"]


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
