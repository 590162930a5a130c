"""Commands that ask a server which is none of clipserve: one line and an exit status."""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from contextlib import closing
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from clipserve.client.errors import OddAnswer
from clipserve.client.index import Index
from tests.commands.hostile import (
    CAT,
    EMBEDDED,
    GOOD,
    WORDS,
    Done,
    Parts,
    body,
    good_but,
    path_of,
    run,
    serving,
)
from tests.models.evaluation.asking import evaluated

ODD = " is not a clipserve server: its answer is "
# What every path answers, and what is said of it.
SHAPES = [
    pytest.param(b"<html>", "not JSON.", id="HTML"),
    pytest.param(b"[]", "", id="an array"),
    pytest.param(
        b'{"data": null, "results": null, "label_sets": null, "labels": null}', "wrong: ", id="null for lists"
    ),
]


def is_a_line(done: Done, said: str = ODD) -> None:
    assert (done.status, done.output, done.errors.count("\n")) == (1, "", 1), done.all
    assert said in done.errors


@pytest.mark.parametrize("command", ["classify", "list", "show"])
@pytest.mark.parametrize(("content", "said"), SHAPES)
def test_an_answer_of_another_shape_is_a_line(command: str, content: bytes, said: str) -> None:
    with serving(lambda _: body(content)) as (url, _):
        is_a_line(run(*WORDS[command], "--url", url), f"clipserve: {url}{ODD}{said}")


@pytest.mark.parametrize(("content", "said"), SHAPES)
def test_an_odd_answer_behind_good_ones_is_a_line(content: bytes, said: str, tmp_path: Path) -> None:
    with serving(good_but(dict.fromkeys(["/classify", "/embed"], body(content)))) as (url, _):
        is_a_line(run("embed", CAT, "--index", tmp_path / "a.sqlite", "--url", url), ODD + said)
        (tmp_path / "classes.tsv").write_text("0\tcat\ta cat\n", "utf-8")
        with pytest.raises(OddAnswer, match="is not a clipserve server"):
            evaluated(url, photos(tmp_path), tmp_path / "classes.tsv")


def test_the_doctor_takes_no_odd_answer_for_a_fault_of_its_own() -> None:
    with serving(lambda _: body(b"<html>")) as (url, _):
        done = run(*WORDS["doctor"], "--url", url)
    assert done.status == 1
    assert [ODD in line["found"] for line in json.loads(done.output)["findings"]] == [True]


def photos(folder: Path) -> Path:
    (folder / "cat").mkdir()
    (folder / "cat/1.jpg").write_bytes(CAT.read_bytes())
    return folder


def test_an_evaluation_asks_for_the_photos_of_its_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.tsv").write_text("0\tcat\ta\n1\tdog\ta dog\n", "utf-8")
    with serving(good_but({})) as (url, requests):
        figures = evaluated(url, photos(tmp_path), tmp_path / "classes.tsv").figures
    assert (figures["images"], figures["classes"], figures["top1"]) == (1, 2, 1.0)
    head, _, sent = requests[-1].partition(b"\r\n\r\n")
    kind = re.search(rb"(?i)content-type: *(multipart/form-data; *boundary=\S+)", head)
    assert kind
    form = message_from_bytes(b"Content-Type: " + kind[1] + b"\r\n\r\n" + sent)
    fields: dict[Any, list[Any]] = defaultdict(list)
    for part in [*form.walk()][1:]:
        fields[part.get_param("name", header="content-disposition")].append(part.get_payload(decode=True))
    assert fields == {
        "image": [CAT.read_bytes()],
        "labels": [b"a", b"a dog"],
        "truncate": [b"false"],
        "model": [b"toy"],
        "expect_fingerprint": [b"toy@1"],
    }


def test_what_is_no_vector_ends_the_command_and_is_never_written(tmp_path: Path) -> None:
    odd = body(EMBEDDED | {"results": [{"embedding": base64.b64encode(b"\0" * 8).decode()}]})
    with serving(good_but({"/embed": odd})) as (url, _):
        done = run("embed", CAT, "--index", tmp_path / "a.sqlite", "--url", url)
    is_a_line(done, "answers 2 numbers, of length 0; a vector has 2, of length 1.")
    with closing(Index(tmp_path / "a.sqlite")) as index:
        assert index.count() == 0


@pytest.mark.parametrize("good_one", [False, True], ids=["all fail", "one does not"])
def test_encoders_that_fail_ten_times_running_end_the_command(good_one: bool, tmp_path: Path) -> None:
    failed, asked = body({"code": "backend_failed", "detail": "onnxruntime failed."}, 502), 0
    for number in range(15):
        (tmp_path / f"{number:02}.jpg").write_bytes(CAT.read_bytes())

    def answers(request: bytes) -> Parts:
        nonlocal asked
        asked += path_of(request) == "/embed"
        is_bad = path_of(request) == "/embed" and not (good_one and asked == 8)
        return failed if is_bad else body(GOOD[path_of(request)])

    with serving(answers) as (url, _):
        done = run("embed", tmp_path, "--url", url, "--in-flight", 1)
    assert (done.status, "the encoders fail, whatever they are given" in done.errors) == (1, not good_one)
    assert ("15 rows; embedded now: 15." in done.errors) == good_one


def test_a_file_that_is_no_image_has_no_vector_whatever_the_service_says(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"no image")
    with serving(good_but({})) as (url, _):
        done = run("embed", tmp_path / "1.jpg", "--index", tmp_path / "a.sqlite", "--url", url)
    assert done.status == 1
    assert "1.jpg: undecodable_image: " in done.errors
