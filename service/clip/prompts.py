"""Labels -> prompts. A template is a sentence with one or two slots, `{}`; a template set is a named list."""

from __future__ import annotations

from collections.abc import Sequence

from service.errors import BadPromptTemplate

SLOT = "{}"
MAX_SLOTS = 2

# The sets of openai/CLIP (MIT licence), notebooks/Prompt_Engineering_for_ImageNet.ipynb.
TEMPLATE_SETS: dict[str, tuple[str, ...]] = {
    "plain": ("{}",),
    "photo": ("a photo of a {}.",),
    "imagenet-7": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
    "imagenet-80": (
        "a bad photo of a {}.",
        "a photo of many {}.",
        "a sculpture of a {}.",
        "a photo of the hard to see {}.",
        "a low resolution photo of the {}.",
        "a rendering of a {}.",
        "graffiti of a {}.",
        "a bad photo of the {}.",
        "a cropped photo of the {}.",
        "a tattoo of a {}.",
        "the embroidered {}.",
        "a photo of a hard to see {}.",
        "a bright photo of a {}.",
        "a photo of a clean {}.",
        "a photo of a dirty {}.",
        "a dark photo of the {}.",
        "a drawing of a {}.",
        "a photo of my {}.",
        "the plastic {}.",
        "a photo of the cool {}.",
        "a close-up photo of a {}.",
        "a black and white photo of the {}.",
        "a painting of the {}.",
        "a painting of a {}.",
        "a pixelated photo of the {}.",
        "a sculpture of the {}.",
        "a bright photo of the {}.",
        "a cropped photo of a {}.",
        "a plastic {}.",
        "a photo of the dirty {}.",
        "a jpeg corrupted photo of a {}.",
        "a blurry photo of the {}.",
        "a photo of the {}.",
        "a good photo of the {}.",
        "a rendering of the {}.",
        "a {} in a video game.",
        "a photo of one {}.",
        "a doodle of a {}.",
        "a close-up photo of the {}.",
        "a photo of a {}.",
        "the origami {}.",
        "the {} in a video game.",
        "a sketch of a {}.",
        "a doodle of the {}.",
        "a origami {}.",
        "a low resolution photo of a {}.",
        "the toy {}.",
        "a rendition of the {}.",
        "a photo of the clean {}.",
        "a photo of a large {}.",
        "a rendition of a {}.",
        "a photo of a nice {}.",
        "a photo of a weird {}.",
        "a blurry photo of a {}.",
        "a cartoon {}.",
        "art of a {}.",
        "a sketch of the {}.",
        "a embroidered {}.",
        "a pixelated photo of a {}.",
        "itap of the {}.",
        "a jpeg corrupted photo of the {}.",
        "a good photo of a {}.",
        "a plushie {}.",
        "a photo of the nice {}.",
        "a photo of the small {}.",
        "a photo of the weird {}.",
        "the cartoon {}.",
        "art of the {}.",
        "a drawing of the {}.",
        "a photo of the large {}.",
        "a black and white photo of a {}.",
        "the plushie {}.",
        "a dark photo of a {}.",
        "itap of a {}.",
        "graffiti of the {}.",
        "a toy {}.",
        "itap of my {}.",
        "a photo of a cool {}.",
        "a photo of a small {}.",
        "a tattoo of the {}.",
    ),
}


def expand(templates: Sequence[str]) -> tuple[str, ...]:
    """Replace each name of a set by its templates; keep what has a slot.

    Raises:
        BadPromptTemplate: one is neither a set's name nor a sentence with one or two slots; names its index.
    """
    expanded: list[str] = []
    for index, template in enumerate(templates):
        slots = template.count(SLOT)
        if slots > MAX_SLOTS:
            raise BadPromptTemplate(
                f"template {index} has {slots:,} slots {SLOT} for the label; the limit is {MAX_SLOTS}.",
                limit=MAX_SLOTS,
                actual=slots,
                index=index,
            )
        if slots:
            expanded.append(template)
        elif template in TEMPLATE_SETS:
            expanded.extend(TEMPLATE_SETS[template])
        else:
            raise BadPromptTemplate(
                f"template {index} has no slot {SLOT} for the label, and is not the name of a template set "
                f"({', '.join(TEMPLATE_SETS)}). Example: 'a photo of a {{}}.'",
                index=index,
            )
    return tuple(expanded)


def filled_chars(template: str, label_chars: int, labels: int = 1) -> int:
    """Characters of what `fill` makes of `labels` labels that have `label_chars` characters together."""
    slots = template.count(SLOT)
    return (len(template) - slots * len(SLOT)) * labels + slots * label_chars


def fill(template: str, label: str) -> str:
    """Put `label` into every slot. Literal replacement: `str.format` would let a caller reach into objects."""
    return template.replace(SLOT, label)
