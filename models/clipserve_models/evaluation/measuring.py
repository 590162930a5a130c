"""An evaluation from its data to its report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipserve.application.requests import ClassifyRequest
from clipserve.client.methods import AsyncMethods
from clipserve.commands.progress import Shown
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.asking import Asker, answer_all
from clipserve_models.evaluation.classes import Classes, classes_in, read_classes, read_templates
from clipserve_models.evaluation.figures import of_captions, of_labels
from clipserve_models.evaluation.items import Item
from clipserve_models.evaluation.journal import Journal
from clipserve_models.evaluation.presets import Preset, compared
from clipserve_models.evaluation.reading import read_items
from clipserve_models.evaluation.report import Report

JOURNAL = "answers.bin"


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        classes: a file of them, or a data set's name; None: those that the data bring along.
        templates: names of sets and files too; none: the model's own.
        label_set: of the service, with these classes, in place of templates. It may have prompts and examples of
            its own, and a threshold: an image without a label counts as wrong.
        preset: a set of presets.toml, whose classes and templates are asked where no others are given.
        out: a folder for the report, and for the answers, so that an evaluation which is killed can go on.
    """

    data: Path
    classes: str | Path | None = None
    templates: tuple[str, ...] = ()
    label_set: str | None = None
    preset: Preset | None = None
    out: Path | None = None


async def evaluate(clip: AsyncMethods, plan: Plan) -> Report:
    """Ask about each item, and count.

    Raises:
        ModelsError: there are no items, one has no answer, or `out` has answers of something else.
        ClipserveError: the service refuses a request, cannot be reached, or its model changes.
    """
    if plan.label_set and plan.templates:
        raise ModelsError("a label set has templates of its own: give --template or --label-set, not both.")
    if plan.preset:
        plan = _by_preset(plan, plan.preset)
    given = read_classes(plan.classes) if plan.classes else None
    keys = given.keys if given else ()
    # What is right, without what is asked: the images are read again, a few at a time.
    items = [replace(item, image=b"") for item in read_items(plan.data, keys)]
    if not items:
        of = f" with a class of {plan.classes}" if plan.classes else ""
        raise ModelsError(f"{plan.data} holds no image{of}.")
    if plan.out:
        plan.out.mkdir(parents=True, exist_ok=True)
    if any(item.classes for item in items):
        classes = given or classes_in(plan.data, (name for item in items for name in item.classes))
        report = await _classify(clip, plan, items, classes, read_items(plan.data, keys))
    else:
        report = await _retrieve(clip, plan, items, read_items(plan.data, keys))
    if plan.out:
        report.write(plan.out)
    return report


def _by_preset(plan: Plan, preset: Preset) -> Plan:
    templates = (preset.templates,) if preset.templates and not plan.label_set else ()
    return replace(plan, classes=plan.classes or preset.names, templates=plan.templates or templates)


async def _classify(
    clip: AsyncMethods, plan: Plan, items: Sequence[Item], classes: Classes, images: Iterator[Item]
) -> Report:
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
    with Journal(_journal(plan), about, len(places) + 1) as journal, Shown("images") as shown:
        shown.total = len(items)
        if journal.kept < len(items):
            await asker.prepare(next(read_items(plan.data, classes.keys)), question)
        await answer_all(clip, images, lambda item: asker.logits(item, question, places), journal, shown)
        figures = of_labels(items, journal.rows(), right, classes.labels)
    told = compared(plan.preset, served.model, figures, classes.names, templates) if plan.preset else None
    return Report(served.model, served.fingerprint, plan.data.name, asked, figures, told)


async def _retrieve(clip: AsyncMethods, plan: Plan, items: Sequence[Item], images: Iterator[Item]) -> Report:
    served, asker = await clip.served_by(), Asker(clip)
    captions = [caption for item in items for caption in item.captions]
    about = {"fingerprint": served.fingerprint, "data": _digest(items)}

    def works() -> Iterator[Item | str]:
        yield from images
        yield from captions

    with Journal(_journal(plan), about, served.embed_dim) as journal, Shown("images and captions") as shown:
        shown.total = len(items) + len(captions)
        await answer_all(clip, works(), asker.vector, journal, shown)
        figures = of_captions(journal.rows(), [len(item.captions) for item in items])
    told = compared(plan.preset, served.model, figures) if plan.preset else None
    return Report(served.model, served.fingerprint, plan.data.name, {}, figures, told)


def _journal(plan: Plan) -> Path | None:
    return plan.out / JOURNAL if plan.out else None


def _digest(items: Sequence[Item]) -> str:
    """Of what is evaluated: other items, or other truths, are another evaluation."""
    return _hash([(item.id, item.classes, item.captions) for item in items])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
