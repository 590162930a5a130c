"""Labels -> prompts. A template is a sentence with one or two slots; a template set is a named list of them."""

from __future__ import annotations

from collections.abc import Sequence

from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.errors import BadPromptTemplate

# The two spellings of a slot. `expand` writes all slots as the first.
SLOT, NAMED_SLOT = "{}", "{label}"
MAX_SLOTS = 2


def expand(templates: Sequence[str]) -> tuple[str, ...]:
    """Replace each name of a template set by its templates, and write each slot as `{}`.

    Raises:
        BadPromptTemplate: an item is neither a set's name nor a sentence with one or two slots, or gives a template
            a second time, alone or in a set; has its index.
    """
    given_by: dict[str, int] = {}  # template -> index of its item
    for index, template in enumerate(templates):
        for each in _templates_of(index, template):
            if each in given_by:
                raise _repeated(templates, given_by[each], index, each)
            given_by[each] = index
    return tuple(given_by)


def slots_in(text: str) -> int:
    """The number of slots, in either spelling."""
    return text.count(SLOT) + text.count(NAMED_SLOT)


def one_spelling(text: str) -> str:
    """The template with each slot written as `{}`, for `filled_chars` and `fill`."""
    return text.replace(NAMED_SLOT, SLOT)


def filled_chars(template: str, label_chars: int, labels: int = 1) -> int:
    """Characters of all that `fill` makes of `labels` labels that have `label_chars` characters together."""
    slots = template.count(SLOT)
    return (len(template) - slots * len(SLOT)) * labels + slots * label_chars


def fill(template: str, label: str) -> str:
    """Put `label` into every slot of a template, all written as `{}`.

    Literal replacement, in one pass: `str.format` would give a caller access to objects, and a `{}` in the label is
    not a slot.
    """
    return template.replace(SLOT, label)


def _templates_of(index: int, template: str) -> Sequence[str]:
    slots = slots_in(template)
    if slots > MAX_SLOTS:
        raise BadPromptTemplate(
            f"template {index} has {slots:,} slots {SLOT} or {NAMED_SLOT} for the label; the limit is {MAX_SLOTS}.",
            limit=MAX_SLOTS,
            actual=slots,
            index=index,
        )
    if slots:
        return (one_spelling(template),)
    if template in TEMPLATE_SETS:
        return TEMPLATE_SETS[template].templates
    raise BadPromptTemplate(
        f"template {index} has no slot {SLOT} or {NAMED_SLOT} for the label, and is not the name of a template set "
        f"({', '.join(TEMPLATE_SETS)}). Example: 'a photo of a {{}}.'",
        index=index,
    )


def _repeated(templates: Sequence[str], first: int, second: int, repeated: str) -> BadPromptTemplate:
    """The error for a template that occurs twice, which would count twice in the mean of the prompts."""
    if templates[first] in TEMPLATE_SETS or templates[second] in TEMPLATE_SETS:
        detail = f"template {second} gives {repeated!r}, which template {first} gives already. Name one set alone, "
        detail += "or write out the templates that you want."
    else:
        detail = f"template {second} is the same as template {first}. Send each template once."
    return BadPromptTemplate(detail, index=second)
