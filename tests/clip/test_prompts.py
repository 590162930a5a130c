"""Templates: sets by name, slots filled literally, none twice."""

from __future__ import annotations

import pytest

from clipserve.clip.prompts import expand, fill, filled_chars
from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.errors import BadPromptTemplate


def test_names_and_sentences_mix_in_the_order_given() -> None:
    assert expand(["a drawing of a {}.", "photo"]) == ("a drawing of a {}.", "a photo of a {}.")
    assert expand([]) == ()
    assert expand(["imagenet-80"]) == TEMPLATE_SETS["imagenet-80"].templates


def test_a_named_slot_is_the_same_as_one_without_a_name() -> None:
    assert (
        expand(["a {label}.", "{label} or {}"]) == expand(["a {}.", "{} or {label}"]) == ("a {}.", "{} or {}")
    )


@pytest.mark.parametrize("label", ["{}", "{label}", "{0.__class__} %s {}", "\\g<0> \\1", "{label} {}"])
def test_a_label_is_put_in_literally_and_once(label: str) -> None:
    (template,) = expand(["a {label} and a {}."])
    assert fill(template, label) == f"a {label} and a {label}."


@pytest.mark.parametrize("template", ["{{label}}", "{{}}", "{{}label}", "{label{}}", "}{label}{"])
def test_braces_around_a_slot_are_text(template: str) -> None:
    (expanded,) = expand([template])
    slot = "{label}" if "{label}" in template else "{}"
    assert fill(expanded, "cat") == template.replace(slot, "cat")


def test_a_template_may_have_two_slots_and_not_three() -> None:
    assert expand(["{} or {}"]) == ("{} or {}",)
    for three in ("{}{}{}", "{label}{}{label}"):
        with pytest.raises(
            BadPromptTemplate, match=r"template 1 has 3 slots \{\} or \{label\} for the label; the limit is 2"
        ) as caught:
            expand(["{}", three])
        assert (caught.value.limit, caught.value.actual, caught.value.index) == (2, 3, 1)


def test_the_characters_of_prompts_are_known_before_they_are_made() -> None:
    for template in expand(["{}", "a {}.", "{} {}", "the {label}", "{label}, {}"]):
        assert filled_chars(template, 3) == len(fill(template, "cat"))
        assert filled_chars(template, 8, 2) == len(fill(template, "cat") + fill(template, "horse"))


@pytest.mark.parametrize("bad", ["a photo of a cat", "", "imagenet-8000", "{Label}", "{ label }", "{0}"])
def test_a_template_without_a_slot_is_refused_by_its_index(bad: str) -> None:
    with pytest.raises(BadPromptTemplate, match="template 1 has no slot") as caught:
        expand(["a {}", bad])
    assert caught.value.index == 1


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        (["a {}", "the {}", "a {}"], "template 2 is the same as template 0. Send each template once."),
        (["the {}", "a {}", "a {label}"], "template 2 is the same as template 1. Send each template once."),
        (
            ["a {}", "imagenet-7", "a {} in a video game."],
            "template 2 gives 'a {} in a video game.', which",
        ),
        (
            ["a photo of a {label}.", "x {}", "cifar10"],
            "template 2 gives 'a photo of a {}.', which template 0",
        ),
        (
            ["plain", "a {}", "plain"],
            "template 2 gives '{}', which template 0 gives already. Name one set alone",
        ),
        (
            ["x {}", "cifar100", "cifar10"],
            "template 2 gives 'a photo of a {}.', which template 1 gives already",
        ),
    ],
)
def test_a_template_twice_is_refused_by_the_index_of_the_second(templates: list[str], said: str) -> None:
    with pytest.raises(BadPromptTemplate) as caught:
        expand(templates)
    assert caught.value.detail.startswith(said)
    assert caught.value.index == 2


def test_sets_that_share_no_template_can_be_combined() -> None:
    both = expand(["food101", "eurosat"])
    assert both == TEMPLATE_SETS["food101"].templates + TEMPLATE_SETS["eurosat"].templates
