"""Renders a model card in Markdown: the facts of an artifact, and its accuracy in an evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest, Variant
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.report import Report, table


def card(folder: Path, evaluation: Path | None) -> str:
    """The card. `evaluation`: the report.json of an evaluation of this model.

    Raises:
        ArtifactError: the folder is not an artifact.
        ModelsError: the report cannot be read, or is of another model.
    """
    manifest = read_manifest(folder)
    lines = [f"# {manifest.name}\n", *table(("", ""), *_about(manifest))]
    if manifest.variant:
        lines += ["\n## Beside the fp32 artifact\n", *table(("", ""), *_beside(manifest.variant))]
    if evaluation:
        report = _report(evaluation, manifest)
        _, _, body = report.as_markdown().rstrip().partition("\n")
        lines += [f"\n## Evaluation on {report.data}", body.replace("\n## ", "\n### ")]
    return "\n".join(lines) + "\n"


def _about(manifest: ModelManifest) -> Iterator[tuple[str, str]]:
    source, image, text, scoring = manifest.source, manifest.image, manifest.text, manifest.scoring
    bias = f" {scoring.logit_bias:+g}" if scoring.logit_bias else ""
    yield "fingerprint", f"`{manifest.fingerprint()}`"
    yield "weights", f"{source.checkpoint}{f', {source.revision}' if source.revision else ''}"
    if source.random_weights:
        yield "training", "**none: the weights are random, for timing and tests**"
    yield "licence of the weights", source.licence
    yield "vectors", f"{manifest.embed_dim:,} numbers, of unit length"
    yield "computes in", manifest.precision
    yield "images", f"{image.size} x {image.size} pixels; {image.resize}, {image.interpolation}"
    yield "texts", f"up to {text.context_length:,} tokens; cleaning: {text.cleaning}"
    yield "scores", f"{scoring.function} of {scoring.logit_scale:g} x cosine{bias}"
    yield "its own templates", ", ".join(f"`{each}`" for each in manifest.prompt_templates)


def _beside(variant: Variant) -> Iterator[tuple[str, str]]:
    yield "made of", variant.made_of
    yield "photos that judged it", f"{variant.photos:,}"
    yield "mean cosine of the photos' vectors", f"{variant.mean_cosine:.5f}"
    yield "mean cosine of the prompts' vectors", f"{variant.text_mean_cosine:.5f}"
    if variant.top1_agreement is not None:
        yield "photos with the same first label", f"{variant.top1_agreement:.2%}"


def _report(file: Path, manifest: ModelManifest) -> Report:
    try:
        told = json.loads(file.read_text("utf-8"))
        report = Report(**{name: told[name] for name in Report.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelsError(f"{file} is no report of `clipserve models evaluate`: {error!r}.") from None
    if report.model != manifest.name:
        raise ModelsError(f"{file} is of {report.model}, and the artifact is {manifest.name}.")
    return report
