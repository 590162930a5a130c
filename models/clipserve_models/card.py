"""A model card in Markdown: what an artifact says of itself, and how right it was found to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest, Variant
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.report import Report


def card(folder: Path, evaluation: Path | None) -> str:
    """The card. `evaluation`: the report.json of an evaluation of this model.

    Raises:
        ArtifactError: the folder is no artifact.
        ModelsError: the report cannot be read, or is of another model.
    """
    manifest = read_manifest(folder)
    lines = [*_about(manifest)]
    if manifest.variant:
        lines += _variant(manifest.variant)
    if evaluation:
        lines += _evaluation(_report(evaluation, manifest))
    return "\n".join(lines) + "\n"


def _about(manifest: ModelManifest) -> Iterator[str]:
    source, image, text, scoring = manifest.source, manifest.image, manifest.text, manifest.scoring
    bias = f" {scoring.logit_bias:+g}" if scoring.logit_bias else ""
    yield from (f"# {manifest.name}\n", "| | |", "| --- | --- |")
    yield f"| fingerprint | `{manifest.fingerprint()}` |"
    yield f"| weights | {source.checkpoint}{f', {source.revision}' if source.revision else ''} |"
    if source.random_weights:
        yield "| | **random: never trained, for timing and tests** |"
    yield f"| licence of the weights | {source.licence} |"
    yield f"| vectors | {manifest.embed_dim:,} numbers, of unit length |"
    yield f"| computes in | {manifest.precision} |"
    yield f"| images | {image.size} x {image.size} pixels; {image.resize}, {image.interpolation} |"
    yield f"| texts | up to {text.context_length:,} tokens; cleaning: {text.cleaning} |"
    yield f"| scores | {scoring.function} of {scoring.logit_scale:g} x cosine{bias} |"
    yield f"| its own templates | {', '.join(f'`{each}`' for each in manifest.prompt_templates)} |"


def _variant(variant: Variant) -> Iterator[str]:
    yield from ("\n## Beside the fp32 artifact\n", "| | |", "| --- | ---: |")
    yield f"| made of | {variant.made_of or 'unknown'} |"
    yield f"| photos that judged it | {variant.photos:,} |"
    yield f"| mean cosine of the photos' vectors | {variant.mean_cosine:.5f} |"
    yield f"| mean cosine of the prompts' vectors | {variant.text_mean_cosine:.5f} |"
    if variant.top1_agreement is not None:
        yield f"| photos with the same first label | {variant.top1_agreement:.2%} |"


def _evaluation(report: Report) -> Iterator[str]:
    _, _, body = report.as_markdown().rstrip().partition("\n")
    yield f"\n## Evaluation on {report.data}"
    yield body.replace("\n## ", "\n### ")


def _report(file: Path, manifest: ModelManifest) -> Report:
    try:
        told = json.loads(file.read_text("utf-8"))
        report = Report(**{name: told[name] for name in Report.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelsError(f"{file} is no report of `clipserve models evaluate`: {error!r}.") from None
    if report.model != manifest.name:
        raise ModelsError(f"{file} is of {report.model}, and the artifact is {manifest.name}.")
    return report
