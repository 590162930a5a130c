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


def digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def test_every_set_has_the_name_the_templates_and_the_class_names_that_were_published() -> None:
    sets = TEMPLATE_SETS.values()
    assert digest(repr((each.name, each.templates, each.class_names)) for each in sets) == "c38209a9e68915b1"


@pytest.mark.parametrize("found", TEMPLATE_SETS.values(), ids=TEMPLATE_SETS)
def test_each_template_is_there_once_and_has_a_slot_or_two_written_with_nothing_in_it(
    found: TemplateSet,
) -> None:
    assert len(set(found.templates)) == len(found.templates)
    for template in found.templates:
        assert 1 <= template.count(SLOT) <= MAX_SLOTS, template
        assert not re.search(r"[{}]", template.replace(SLOT, "")), template


def test_the_file_holds_the_licence_and_each_set_says_where_it_is_from() -> None:
    file = json.loads(FILE.read_text())
    assert file["licence"][:3] == ["MIT License", "", "Copyright (c) 2021 OpenAI"]
    assert file["licence"][-1] == "SOFTWARE."
    ours = {found.name for found in TEMPLATE_SETS.values() if "openai/CLIP" not in found.source}
    assert ours == {"plain", "photo"}
    assert all(
        found.source.endswith("; MIT licence") for found in TEMPLATE_SETS.values() if found.name not in ours
    )
