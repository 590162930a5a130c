"""Commands that ask a server which is none of clipserve: one line and an exit status."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from clipserve.client.errors import OddAnswer
from clipserve.client.index import Index
from tests.commands.hostile import CAT, WORDS, Done, body, good_but, run, serving
from tests.models.evaluation.asking import evaluated

ODD = " is not a clipserve server: its answer"
# What every path answers.
SHAPES = [
    pytest.param(b"<html>", id="HTML"),
    pytest.param(b"[]", id="an array"),
    pytest.param(b'{"data": null, "results": null, "label_sets": null, "labels": null}', id="null for lists"),
]


def is_a_line(done: Done, said: str = ODD) -> None:
    assert (done.status, done.output, done.errors.count("\n")) == (1, "", 1), done.all
    assert said in done.errors


@pytest.mark.parametrize("command", ["classify", "list", "show"])
@pytest.mark.parametrize("content", SHAPES)
def test_an_answer_of_another_shape_is_a_line(command: str, content: bytes) -> None:
    with serving(lambda _: body(content)) as (url, _):
        is_a_line(run(*WORDS[command], "--url", url), f"clipserve: {url}{ODD}")


@pytest.mark.parametrize("content", SHAPES)
def test_an_odd_answer_behind_good_ones_is_a_line(content: bytes, tmp_path: Path) -> None:
    with serving(good_but(dict.fromkeys(["/classify", "/embed"], body(content)))) as (url, _):
        is_a_line(run("embed", CAT, "--index", tmp_path / "a.sqlite", "--url", url), ODD)
        with closing(Index(tmp_path / "a.sqlite")) as index:
            assert index.count() == 0
        (tmp_path / "classes.tsv").write_text("0\tcat\ta cat\n", "utf-8")
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat/1.jpg").write_bytes(CAT.read_bytes())
        with pytest.raises(OddAnswer, match="is not a clipserve server"):
            evaluated(url, tmp_path, tmp_path / "classes.tsv")


def test_the_doctor_takes_no_odd_answer_for_a_fault_of_its_own() -> None:
    with serving(lambda _: body(b"<html>")) as (url, _):
        done = run(*WORDS["doctor"], "--url", url)
    assert done.status == 1
    assert [ODD in line["found"] for line in json.loads(done.output)["findings"]] == [True]


def test_a_file_that_is_no_image_has_no_vector_whatever_the_service_says(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"no image")
    with serving(good_but({})) as (url, _):
        done = run("embed", tmp_path / "1.jpg", "--index", tmp_path / "a.sqlite", "--url", url)
    assert done.status == 1
    assert "1.jpg: undecodable_image: " in done.errors
