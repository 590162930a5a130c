"""Evaluates a service, from the data to the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import TypeVar

from clipserve.api.requests import ClassifyRequest
from clipserve.client.methods import AsyncMethods
from clipserve.clip.prompts import expand, fill
from clipserve.commands.progress import Shown
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.agreement import Answers, Asked, Original, beside, first_of, oddities
from clipserve_models.evaluation.asking import Asker, answer_all, file_of
from clipserve_models.evaluation.classes import Classes, classes_in, read_classes, read_templates
from clipserve_models.evaluation.figures import Figures, of_captions, of_labels
from clipserve_models.evaluation.items import Item
from clipserve_models.evaluation.journal import Journal
from clipserve_models.evaluation.metrics import Floats, Numbers
from clipserve_models.evaluation.presets import Preset, compared
from clipserve_models.evaluation.reading import read_items
from clipserve_models.evaluation.report import Report

JOURNAL = "answers.bin"
VECTORS = "vectors.bin"  # beside a reference
Images = Callable[[], Iterator[Item]]  # read from the beginning


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        classes: a file of them, or a data set's name; None: the classes that the data define.
        templates: templates, names of template sets or files; none: the model's own.
        label_set: of the service, with these classes, in place of templates. It may have prompts and examples of
            its own, and a threshold: an image without a label counts as wrong.
        preset: a set of presets.toml; its classes and templates are used unless others are given.
        out: a folder for the report, and for the answers, so that an evaluation that was killed can resume.
        reference: the original model, which gets the same questions.
    """

    data: Path
    classes: str | Path | None = None
    templates: tuple[str, ...] = ()
    label_set: str | None = None
    preset: Preset | None = None
    out: Path | None = None
    reference: Original | None = None


P = TypeVar("P", bound=Plan)


async def evaluate(clip: AsyncMethods, plan: Plan) -> Report:
    """Ask the service about each item, and compute the figures.

    Raises:
        ModelsError: there are no items, one has no answer, `out` has answers of something else, or the reference
            cannot be compared.
        ClipserveError: the service refuses a request, cannot be reached, or its model changes.
    """
    if plan.label_set and plan.templates:
        raise ModelsError("a label set has templates of its own: give --template or --label-set, not both.")
    if plan.label_set and plan.reference:
        raise ModelsError("a label set is the service's own: give --reference or --label-set, not both.")
    served = await clip.served_by()
    if plan.reference and plan.reference.embed_dim != served.embed_dim:
        raise ModelsError(f"{served.fingerprint} has vectors of another length than {plan.reference.about}.")
    if plan.preset:
        plan = by_preset(plan, plan.preset)
    given = read_classes(plan.classes) if plan.classes else None
    images = partial(read_items, plan.data, given.keys if given else ())
    items = truths_of(images(), plan.data, plan.classes)
    if plan.out:
        plan.out.mkdir(parents=True, exist_ok=True)
    if any(item.classes for item in items):
        classes = given or classes_in(plan.data, (name for item in items for name in item.classes))
        report = await classify(clip, plan, items, classes, images)
    else:
        report = await _retrieve(clip, plan, items, images)
    if plan.out:
        report.write(plan.out)
    return report


def by_preset(plan: P, preset: Preset) -> P:
    """The plan, with the preset's classes and templates where it has none."""
    templates = (preset.templates,) if preset.templates and not plan.label_set else ()
    return replace(plan, classes=plan.classes or preset.names, templates=plan.templates or templates)


def truths_of(items: Iterable[Item], data: Path, classes: object = None) -> list[Item]:
    """The items with their right answers, without images, which are read again, a few at a time.

    Raises:
        ModelsError: there is no item. `data`, `classes`: what it says was given.
    """
    if found := [replace(item, image=b"") for item in items]:
        return found
    raise ModelsError(f"{data} holds no image{f' with a class of {classes}' if classes else ''}.")


async def classify(
    clip: AsyncMethods, plan: Plan, items: Sequence[Item], classes: Classes, images: Images
) -> Report:
    """Ask for the labels of each item. `images`: the same items, with what is asked. Raises as `evaluate`."""
    served, asker = await clip.served_by(), Asker(clip)
    right = [classes.of(item) for item in items]
    places = {label: place for place, label in enumerate(classes.labels)}
    labels = () if plan.label_set else classes.labels
    sets = [plan.label_set] if plan.label_set else []
    templates = read_templates(plan.templates)
    question = ClassifyRequest([], labels, templates, label_sets=sets)
    asked = {"templates": list(templates), "label_set": plan.label_set}
    about = {
        "fingerprint": served.fingerprint,
        "data": _digest(items),
        "classes": _hash(classes.labels),
        **asked,
    }
    with Journal(_kept_in(plan, JOURNAL), about, len(places) + 1) as journal, Shown("images") as shown:
        shown.total = len(items)
        if journal.kept < len(items):
            await asker.prepare(next(images()), question)
        await answer_all(clip, images(), lambda item: asker.logits(item, question, places), journal, shown)
        rows = journal.rows()
    figures = of_labels(items, rows, right, classes.labels)
    if plan.reference:
        filled = expand(templates) or tuple(plan.reference.templates)
        # Both choose with all templates. To compare the vectors of prompts, one template is enough.
        texts = [fill(filled[0], label) for label in classes.labels]
        both = Asked(items, right, classes.labels, texts, served.fingerprint)
        vectors = await vectors_of(clip, plan, VECTORS, both.items, images, texts)
        first = rows[:, :-1].argmax(axis=1)
        figures["reference"] = await _beside(plan.reference, both, vectors, first, images, filled)
    told = compared(plan.preset, served.model, figures, classes.names, templates) if plan.preset else None
    return Report(served.model, served.fingerprint, plan.data.name, asked, figures, told)


async def _retrieve(clip: AsyncMethods, plan: Plan, items: Sequence[Item], images: Images) -> Report:
    served, counts = await clip.served_by(), [len(item.captions) for item in items]
    captions = [caption for item in items for caption in item.captions]
    vectors = await vectors_of(clip, plan, JOURNAL, items, images, captions)
    figures = of_captions(vectors, counts)
    if plan.reference:
        ends = list(accumulate(counts))
        right = [range(end - count, end) for end, count in zip(ends, counts, strict=True)]
        both = Asked(items, right, captions, captions, served.fingerprint)
        first = first_of(vectors[: len(items)], vectors[len(items) :])
        figures["reference"] = await _beside(plan.reference, both, vectors, first, images)
    told = compared(plan.preset, served.model, figures) if plan.preset else None
    return Report(served.model, served.fingerprint, plan.data.name, {}, figures, told)


async def vectors_of(
    clip: AsyncMethods, plan: Plan, kept_in: str, items: Sequence[Item], images: Images, texts: Sequence[str]
) -> Floats:
    """The vectors of N images, then of M texts: float32 [N + M, D]."""
    served, asker = await clip.served_by(), Asker(clip)
    about = {"fingerprint": served.fingerprint, "data": _digest(items), "texts": _hash(texts)}
    journal = Journal(_kept_in(plan, kept_in), about, served.embed_dim)
    with journal, Shown("images and texts") as shown:
        shown.total = len(items) + len(texts)
        works: Iterator[Item | str] = chain(images(), texts)
        await answer_all(clip, works, asker.vector, journal, shown)
        return journal.rows()


async def _beside(
    original: Original,
    both: Asked,
    vectors: Floats,
    first: Numbers,
    images: Images,
    templates: Sequence[str] = (),
) -> Figures:
    """The service's `vectors`, [N + M, D], and `first`, [N], beside the original's.

    `templates`: if there are several, a label is their mean, and else its text.
    """
    odd: list[str] = []

    def files() -> Iterator[tuple[str, bytes]]:
        for item in images():
            file = file_of(item)
            odd.append(oddities(file))
            yield item.id, file

    own_images, own_texts = await original.images(files()), await original.texts(both.texts)
    labels = await original.labels(both.labels, templates) if len(templates) > 1 else own_texts
    count = len(both.items)
    served = Answers(vectors[:count], vectors[count:], first)
    own = Answers(own_images, own_texts, first_of(own_images, labels))
    return {"of": original.about, **beside(both, odd, served, own, labels)}


def _kept_in(plan: Plan, name: str) -> Path | None:
    return plan.out / name if plan.out else None


def _digest(items: Sequence[Item]) -> str:
    """The digest of the items and their right answers: if it differs, it is another evaluation."""
    return _hash([(item.id, item.classes, item.captions) for item in items])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
