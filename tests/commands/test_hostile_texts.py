"""Texts of a server that mean harm are shown by a command, and not obeyed by the terminal."""

from __future__ import annotations

import json

import pytest

from tests.commands.hostile import (
    CLASSIFIED,
    EVIL,
    LABEL,
    LABEL_SET,
    MODEL,
    MODELS,
    OBEYED,
    SUMMARY,
    WORDS,
    Parts,
    body,
    good_but,
    in_a_terminal,
    run,
    serving,
)

OF_EVIL = {"name": EVIL, "version": EVIL, "model": EVIL, "error": EVIL}
WHOLE = LABEL_SET | OF_EVIL | {"labels": [{"label": EVIL, "id": EVIL, EVIL: EVIL}], "warnings": [EVIL]}
REFUSAL = body({"code": EVIL, "detail": EVIL}, 404)
MODEL_OF_EVIL = body(MODELS | {"data": [MODEL | {"id": EVIL}]})
LABELLED = {"labels": [LABEL | {"label": EVIL, EVIL: EVIL}]}
TEXTS: dict[str, tuple[list[str], dict[str, Parts]]] = {
    "a refusal": (WORDS["classify"], {"/v1/models": REFUSAL}),
    "a refusal of a proxy": (WORDS["list"], {"/label-sets": body(EVIL.encode(), 500)}),
    "the names of models": ([*WORDS["classify"], "--model", "x"], {"/v1/models": MODEL_OF_EVIL}),
    "a refusal of an image": (
        WORDS["classify"],
        {"/classify": body({"code": "undecodable_image", "detail": EVIL}, 422)},
    ),
    "labels and warnings": (
        WORDS["classify"],
        {"/classify": body(CLASSIFIED | {"results": [LABELLED], "warnings": [EVIL]})},
    ),
    "label sets": (WORDS["list"], {"/label-sets": body({"label_sets": [SUMMARY | OF_EVIL]})}),
    "a label set": (WORDS["show"], {"/label-sets/pets": body(WHOLE)}),
    "the doctor's models": (["doctor"], {"/v1/models": MODEL_OF_EVIL}),
    "the doctor's probe": (["doctor"], {"/readyz": REFUSAL}),
}


@pytest.mark.parametrize(("words", "changed"), TEXTS.values(), ids=TEXTS)
def test_texts_of_a_server_are_shown_and_not_obeyed(words: list[str], changed: dict[str, Parts]) -> None:
    with serving(good_but(changed)) as (url, _):
        done = run(*words, "--url", url)
    assert "52;c;ZXZpbA==" in done.all  # it is told, as characters


@pytest.mark.slow
@pytest.mark.parametrize("what", ["labels and warnings", "label sets"])
def test_texts_of_a_server_are_not_obeyed_in_a_terminal(what: str) -> None:
    words, changed = TEXTS[what]
    with serving(good_but(changed)) as (url, _):
        seen = in_a_terminal(*words, "--url", url)
    assert "\\x1b]52;c;ZXZpbA==" in seen
    assert not OBEYED.search(seen), repr(seen)


def test_lines_of_json_are_what_the_server_said() -> None:
    words, changed = TEXTS["labels and warnings"]
    with serving(good_but(changed)) as (url, _):
        line = json.loads(run(*words, "--url", url).output)
    assert line["labels"][0]["label"] == EVIL
    words, changed = TEXTS["a label set"]
    with serving(good_but(changed)) as (url, _):
        assert json.loads(run(*words, "--url", url).output) == WHOLE
