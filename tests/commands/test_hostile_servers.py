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

import numpy as np
import pytest

from clipserve.client.errors import OddAnswer
from clipserve.client.index import Index
from clipserve_models.errors import ModelsError
from tests.commands.hostile import (
    CAT,
    EMBEDDED,
    EVIL,
    GOOD,
    MODEL,
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
    pytest.param(b"", "wrong: ", id="nothing"),
    pytest.param(b"<html>", "not JSON.", id="HTML"),
    pytest.param(b'{"data": "\xff"}', "not JSON.", id="no UTF-8"),
    pytest.param(b"[" * 100_000 + b"]" * 100_000, "not JSON.", id="arrays in arrays"),
    pytest.param(b'{"data": "\\ud800"}', "not JSON.", id="half a surrogate pair"),
    pytest.param(b"[]", "", id="an array"),
    pytest.param(
        b'{"data": null, "results": null, "label_sets": null, "labels": null}', "wrong: ", id="null for lists"
    ),
    pytest.param(
        b'{"data": [{}], "results": [{}], "label_sets": [{}], "labels": [{}]}',
        "wrong: ",
        id="lists of objects",
    ),
    pytest.param(
        json.dumps({"data": [MODEL | {"embed_dim": "2"}], "label_sets": [{"label_count": "1"}]}).encode(),
        "wrong: ",
        id="texts for numbers",
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
    assert [ODD in line["found"] for line in json.loads(done.output)["findings"]] == [True, True]


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


def test_a_bad_photo_ends_an_evaluation(tmp_path: Path) -> None:
    (tmp_path / "classes.tsv").write_text("0\tcat\ta cat\n", "utf-8")
    (photos(tmp_path) / "cat/2.jpg").write_bytes(CAT.read_bytes())
    refusal = json.dumps({"code": "unsupported_format", "detail": "it is no image."}).encode()
    with (
        serving(good_but({"/classify": body(refusal, 415)})) as (url, _),
        pytest.raises(ModelsError, match=r"1\.jpg: unsupported_format"),
    ):
        evaluated(url, tmp_path, tmp_path / "classes.tsv")


def floats(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


VECTORS = {
    "NaN": floats(float("nan"), 1),
    "infinity": floats(float("inf"), 0),
    "too large": floats(3e38, 3e38),
    "of no length": floats(0, 0),
    "too short": floats(1),
    "too many": floats(1, 0, 0),
    "none": "",
    "half a number": base64.b64encode(b"123").decode(),
    "no base64": EVIL,
}


@pytest.mark.parametrize("embedding", VECTORS.values(), ids=VECTORS)
def test_a_vector_that_is_none_is_the_error_of_its_image_and_never_written(
    embedding: str, tmp_path: Path
) -> None:
    image, others = tmp_path / "1.jpg", tmp_path / "2.jpg"
    index = ["--index", tmp_path / "a.sqlite", "--npz", tmp_path / "a.npz"]
    image.write_bytes(CAT.read_bytes())
    others.write_bytes(CAT.read_bytes())
    asked = 0

    def answer(request: bytes) -> Parts:
        nonlocal asked
        path = path_of(request)
        asked += path == "/embed"
        bad = path == "/embed" and asked == 1
        return body(EMBEDDED | {"results": [{"embedding": embedding}]} if bad else GOOD[path])

    with serving(answer) as (url, _):
        done = run("embed", image, others, *index, "--url", url, "--in-flight", "1")
    assert done.status == 1
    assert "2 rows; embedded now: 2." in done.errors
    assert "invalid_vector" in done.errors
    with np.load(tmp_path / "a.npz") as arrays:
        rows = dict(zip(arrays["error"].tolist(), arrays["vector"].tolist(), strict=True))
    assert rows == {"invalid_vector": [0, 0], "": [1, 0]}


@pytest.mark.parametrize("broken", ["image", "text"])
def test_a_broken_encoder_ends_the_command_although_the_other_one_works(broken: str, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("a cat\n", "utf-8")
    odd = body(EMBEDDED | {"results": [{"embedding": VECTORS["NaN"]}]})

    def answers(request: bytes) -> Parts:
        path, kind = path_of(request), "text" if b'"texts"' in request else "image"
        return odd if path == "/embed" and kind == broken else body(GOOD[path])

    sources: dict[str, list[str | Path]] = {"image": [CAT], "text": ["--text", tmp_path / "texts"]}
    with serving(answers) as (url, _):
        for kind, words in sources.items():
            done = run("embed", *words, "--index", tmp_path / f"{kind}.sqlite", "--url", url)
            if kind == broken:
                is_a_line(done, "the encoders fail, whatever they are given")
            else:
                assert done.status == 0, done.all
    with closing(Index(tmp_path / f"{broken}.sqlite")) as index:
        assert index.count() == 0


def test_a_file_that_is_no_image_has_no_vector_whatever_the_service_says(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"no image")
    with serving(good_but({})) as (url, _):
        done = run("embed", tmp_path / "1.jpg", "--index", tmp_path / "a.sqlite", "--url", url)
    assert done.status == 1
    assert "1.jpg: undecodable_image: " in done.errors
