"""The template sets: what the data file must hold."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from clipserve.clip import template_sets
from clipserve.clip.prompts import MAX_SLOTS, SLOT
from clipserve.clip.template_sets import TEMPLATE_SETS, TemplateSet

FILE = Path(template_sets.__file__).with_suffix(".json")
EACH = pytest.mark.parametrize("found", TEMPLATE_SETS.values(), ids=TEMPLATE_SETS)

# How many templates and class names were published.
COUNTS = {
    "plain": (1, 0),
    "photo": (1, 0),
    "imagenet-7": (7, 0),
    "imagenet-80": (80, 0),
    "birdsnap": (1, 500),
    "caltech101": (34, 102),
    "cifar10": (18, 10),
    "cifar100": (18, 100),
    "clevr-counts": (1, 8),
    "country211": (5, 211),
    "dtd": (8, 47),
    "eurosat": (3, 10),
    "fer2013": (6, 0),
    "fgvc-aircraft": (2, 100),
    "flowers102": (1, 102),
    "food101": (1, 101),
    "gtsrb": (3, 43),
    "hateful-memes": (1, 2),
    "kinetics700": (28, 700),
    "kitti": (1, 4),
    "mnist": (1, 10),
    "oxford-pets": (1, 37),
    "pascal-voc2007": (1, 20),
    "patch-camelyon": (1, 2),
    "rendered-sst2": (1, 2),
    "resisc45": (18, 45),
    "stanford-cars": (8, 196),
    "stl10": (2, 10),
    "sun397": (2, 397),
    "ucf101": (48, 101),
}


def digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def test_the_names_are_these_once_each_with_so_many_templates_and_class_names() -> None:
    written = [each["name"] for each in json.loads(FILE.read_text())["sets"]]
    assert written == list(TEMPLATE_SETS) == list(COUNTS)
    assert {
        name: (len(found.templates), len(found.class_names)) for name, found in TEMPLATE_SETS.items()
    } == COUNTS


@pytest.mark.parametrize(
    ("name", "first", "last", "expected"),
    [
        ("imagenet-7", "itap of a {}.", "a photo of the small {}.", "6ef3883987d224b7"),
        ("imagenet-80", "a bad photo of a {}.", "a tattoo of the {}.", "4f976686fb651bb5"),
        ("plain", "{}", "{}", "44136fa355b3678a"),
        ("photo", "a photo of a {}.", "a photo of a {}.", "e8e367e769f86c27"),
    ],
)
def test_the_templates_that_vectors_were_made_with_stay_as_they_are(
    name: str, first: str, last: str, expected: str
) -> None:
    templates = TEMPLATE_SETS[name].templates
    assert (templates[0], templates[-1], digest(templates)) == (first, last, expected)


def test_every_text_is_the_published_one() -> None:
    texts = (text for found in TEMPLATE_SETS.values() for text in (*found.templates, *found.class_names))
    assert digest(texts) == "fadbdff607d079f4"


@EACH
def test_each_template_has_a_slot_or_two_written_with_nothing_in_it(found: TemplateSet) -> None:
    for template in found.templates:
        assert 1 <= template.count(SLOT) <= MAX_SLOTS, template
        assert not re.search(r"[{}]", template.replace(SLOT, "")), template


@EACH
def test_no_template_and_no_class_name_is_there_twice(found: TemplateSet) -> None:
    assert len(set(found.templates)) == len(found.templates)
    assert len(set(found.class_names)) == len(found.class_names)


@EACH
def test_a_name_is_made_of_small_letters_digits_and_hyphens(found: TemplateSet) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", found.name), "it is part of a path"


def test_the_file_holds_the_licence_and_each_set_says_where_it_is_from() -> None:
    file = json.loads(FILE.read_text())
    assert file["licence"][:3] == ["MIT License", "", "Copyright (c) 2021 OpenAI"]
    assert file["licence"][-1] == "SOFTWARE."
    ours = {found.name for found in TEMPLATE_SETS.values() if "openai/CLIP" not in found.source}
    assert ours == {"plain", "photo"}
    assert all(
        found.source.endswith("; MIT licence") for found in TEMPLATE_SETS.values() if found.name not in ours
    )
