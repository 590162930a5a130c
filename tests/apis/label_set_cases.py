"""The cases of both APIs about label sets, and about how labels are scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.apis.cases import BROKEN, IMAGE, TWO, Case
from tests.support.service import png

PETS: dict[str, Any] = {
    "labels": [
        "cat",
        {"label": "dog", "id": "n1", "threshold": 0.125},
        {"label": "cow", "prompts": ["my {}", "it moos"], "examples": [png(1), png(2)]},
    ],
    "templates": ["a {}", "the {}"],
    "background": ["else"],
    "scoring": "sigmoid",
    "temperature": 2.5,
    "threshold": -0.25,
    "example_weight": 0.75,
}
FOOD: dict[str, Any] = {"labels": ["bread", "b" * 40], "truncate": True}
BOTH = {"pets": PETS, "food": FOOD}
DENIED = "permission_denied"
AB = IMAGE | {"labels": ["a", "b"]}


def put(name: str, fields: dict[str, Any], code: str | None = None, where: str = "usual", *key: str) -> Case:
    return Case(name, "put_label_set", {"name": "new", "labels": ["a"]} | fields, code, where, [*key])


def by_sets(name: str, fields: dict[str, Any], code: str | None = None, where: str = "usual") -> Case:
    sets = BOTH if where == "usual" else {}
    return Case(name, "classify", IMAGE | {"label_sets": ["pets"]} | fields, code, where, sets=sets)


SCORING_CASES = [
    *(
        Case(f"{kind} scores", "classify", AB | {"scoring": kind})
        for kind in ("softmax", "sigmoid", "cosine")
    ),
    Case("a temperature", "classify", AB | {"temperature": 50.0}),
    Case("a threshold", "classify", AB | {"threshold": 0.5}),
    Case("a threshold above all", "classify", AB | {"threshold": 1.0}),
    Case("a background", "classify", AB | {"background": ["c", "d"]}),
    Case("a single label", "classify", IMAGE | {"labels": ["a"]}),
    Case("a temperature of 0", "classify", AB | {"temperature": 0.0}, "invalid_input"),
    Case("a temperature beyond the most", "classify", AB | {"temperature": 1_001.0}, "invalid_input"),
    Case("a threshold beyond 1", "classify", AB | {"threshold": 1.5}, "invalid_input"),
    Case("a label in the background too", "classify", AB | {"background": ["c", "b"]}, "invalid_input"),
]

ANSWERED = [
    put("a set is kept", PETS),
    put("a set of plain labels", {"labels": ["a", "b"]}),
    put("a set with cut prompts", FOOD),
    put("a set is replaced", {"name": "pets", "labels": ["a"]}),
    put("a set for a model", {"model": "toy"}),
    put("a set by a key for it", {}, None, "keyed", "manager"),
    Case("no set", "label_sets", {}),
    Case("sets in short", "label_sets", {}, sets=BOTH),
    Case("one set", "label_set", {"name": "pets"}, sets=BOTH),
    Case("a set of a file", "label_set", {"name": "pets"}, where="files"),
    put("a set in place of a file's", {"name": "pets"}, where="files"),
    Case("a set that is being built", "label_set", {"name": "pets"}, where="slow"),
    Case("a set that has failed", "label_set", {"name": "pets"}, where="failed"),
    Case("sets in short, one failed", "label_sets", {}, where="failed"),
    Case("sets by a key to use them", "label_sets", {}, where="keyed", keys=["user"]),
    Case("a set is deleted", "delete_label_set", {"name": "pets"}, sets=BOTH),
    by_sets("labels of a set", TWO),
    by_sets("the best label of a set", {"top_k": 1}),
    by_sets("labels of two sets", {"label_sets": ["food", "pets"], "images": [png(), BROKEN]}),
    by_sets("scores that a request asks for", {"scoring": "cosine", "threshold": -1.0, "temperature": 1.0}),
    by_sets("labels of a set of a file", {}, None, "files"),
]

BAD_EXAMPLE = "example 1 of label 1: the image begins as PNG but is broken or cut short."
EXAMPLES = [{"label": "a", "examples": [png(1)]}, {"label": "b", "examples": [png(2), BROKEN]}]
REFUSED = [
    put("no label in a set", {"labels": []}, "invalid_input"),
    put("a name that is none", {"name": "no name"}, "invalid_input"),
    put("a long name", {"name": "a" * 65}, "invalid_input"),
    replace(
        put("a broken example", {"labels": EXAMPLES}, "undecodable_image"),
        error={"index": 1, "detail": BAD_EXAMPLE},
    ),
    put("a long label in a set", {"labels": ["a", "b" * 40]}, "text_too_long"),
    put("many labels in a set", {"labels": [f"{n}" for n in range(1_001)]}, "too_many"),
    put("a set with a template without a slot", {"templates": ["x"]}, "bad_prompt_template"),
    put("a set for no such model", {"model": "none"}, "unknown_model"),
    put("a set for another fingerprint", {"expect_fingerprint": "old"}, "wrong_fingerprint"),
    put("a set by a key to use them", {}, DENIED, "keyed", "user"),
    Case("a set deleted by such a key", "delete_label_set", {"name": "a"}, DENIED, "keyed", ["user"]),
    Case("sets by a key to manage", "label_sets", {}, DENIED, "keyed", ["manager"]),
    *(
        Case(f"no such set: {method}", method, {"name": "none"}, "unknown_label_set", sets=BOTH)
        for method in ("label_set", "delete_label_set")
    ),
    by_sets("no such set", {"label_sets": ["pets", "none"]}, "unknown_label_set"),
    by_sets("a set twice", {"label_sets": ["pets", "food", "pets"]}, "invalid_input"),
    by_sets("a set and labels", {"labels": ["a"]}, "invalid_input"),
    by_sets("many sets", {"label_sets": [f"{n}" for n in range(17)]}, "too_many"),
    by_sets("a set that is not built yet", {}, "label_set_not_ready", "slow"),
    by_sets("a set that cannot be built", {}, "label_set_failed", "failed"),
    put("no store", {}, "store_unavailable", "no store"),
    Case("no store to delete from", "delete_label_set", {"name": "a"}, "store_unavailable", "no store"),
]


def refused(code: str, base: dict[str, Any], **faults: dict[str, Any]) -> list[Case]:
    """Sets with one fault each, by its name."""
    return [put(name.replace("_", " "), base | fields, code) for name, fields in faults.items()]


def label(**fields: Any) -> dict[str, Any]:
    return {"labels": [{"label": "a"} | fields]}


FAULTS = [
    *refused(
        "invalid_input",
        {},
        an_empty_label={"labels": ["a", " "]},
        a_label_twice_in_a_set={"labels": ["a", {"label": "a"}]},
        a_label_that_is_background_too={"background": ["a"]},
        an_id_that_is_not_printable=label(id="\n"),
        a_prompt_twice=label(prompts=["b", "b"]),
        a_prompt_in_two_spellings=label(prompts=["b {}", "b {label}"]),
        an_empty_prompt=label(prompts=[" "]),
        a_threshold_of_a_label_beyond_1=label(threshold=2.0),
        a_temperature_of_a_set_of_0={"temperature": 0.0},
        a_threshold_of_a_set_below_minus_1={"threshold": -3.0},
        a_weight_of_examples_beyond_1={"example_weight": 1.5},
    ),
    *refused(
        "text_too_long",
        {},
        an_id_of_129_characters=label(id="7" * 129),
        a_prompt_of_1_025_characters=label(prompts=["b" * 1_025]),
        a_prompt_of_many_tokens={"labels": ["a", {"label": "b", "prompts": ["c" * 20]}]},
    ),
    *refused("bad_prompt_template", {}, nine_slots=label(prompts=["{}" * 9])),
    *refused("unsupported_format", {}, an_example_that_is_no_image=label(examples=[png(1), b"no image"])),
    *refused(
        "too_many",
        {},
        a_large_set=label(examples=[bytes(8_000_000)]),
        many_examples=label(examples=[b""] * 1_001),
    ),
    *(
        put(f"the name {name!r}", {"name": name}, "invalid_input")
        for name in ("a\nb", "a@b", ".a", "\u00e4", "a b")
    ),
]

LABEL_SET_CASES = [*SCORING_CASES, *ANSWERED, *REFUSED, *FAULTS]
