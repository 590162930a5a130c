"""Templates: sets by name, slots filled literally."""

from __future__ import annotations

import pytest

from service.clip.prompts import TEMPLATE_SETS, expand, fill, filled_chars
from service.errors import BadPromptTemplate


def test_the_sets_have_the_sizes_their_names_say_and_every_template_a_slot() -> None:
    assert len(TEMPLATE_SETS["imagenet-80"]) == 80
    assert len(TEMPLATE_SETS["imagenet-7"]) == 7
    assert set(TEMPLATE_SETS["imagenet-7"]) <= set(TEMPLATE_SETS["imagenet-80"])
    for templates in TEMPLATE_SETS.values():
        assert len(set(templates)) == len(templates)
        assert all("{}" in template for template in templates)


def test_names_and_sentences_mix_in_the_order_given() -> None:
    assert expand(["a drawing of a {}.", "photo"]) == ("a drawing of a {}.", "a photo of a {}.")
    assert expand([]) == ()


def test_a_label_is_put_in_literally() -> None:
    assert fill("a {} and a {}.", "{0.__class__} %s {}") == "a {0.__class__} %s {} and a {0.__class__} %s {}."


def test_a_template_may_have_two_slots_and_not_three() -> None:
    assert expand(["{} or {}"]) == ("{} or {}",)
    with pytest.raises(
        BadPromptTemplate, match=r"template 1 has 3 slots \{\} for the label; the limit is 2"
    ) as caught:
        expand(["{}", "{}{}{}"])
    assert (caught.value.limit, caught.value.actual, caught.value.index) == (2, 3, 1)


def test_the_characters_of_prompts_are_known_before_they_are_made() -> None:
    for template in ("{}", "a {}.", "{} {}"):
        assert filled_chars(template, 3) == len(fill(template, "cat"))
        assert filled_chars(template, 8, 2) == len(fill(template, "cat") + fill(template, "horse"))


@pytest.mark.parametrize("bad", ["a photo of a cat", "", "imagenet-8000", "{label}", "{0}"])
def test_a_template_without_a_slot_is_refused_by_its_index(bad: str) -> None:
    with pytest.raises(BadPromptTemplate, match="template 1 has no slot") as caught:
        expand(["a {}", bad])
    assert caught.value.index == 1
