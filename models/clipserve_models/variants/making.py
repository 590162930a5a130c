"""An fp32 artifact -> a variant of it in a smaller precision, published only if `gate` accepts it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipserve.clip.artifact import (
    IMAGE_GRAPH,
    TEXT_GRAPH,
    TOKENIZER,
    ArtifactError,
    read_manifest,
    verify_files,
)
from clipserve.clip.external import external_files
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import fill
from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.clip.tokenizer import load_tokenizer
from clipserve_models.artifact import checksums, replacing, write_manifest
from clipserve_models.errors import ModelsError
from clipserve_models.variants import gate
from clipserve_models.variants.fp16 import Largest, write_fp16
from clipserve_models.variants.gate import VariantPrecision
from clipserve_models.variants.int8 import write_int8
from clipserve_models.variants.samples import (
    CALIBRATION_PROMPTS,
    EVERYDAY,
    MAX_CALIBRATION_PHOTOS,
    Pixels,
    image_feeds,
    read_photos,
    split,
    spread,
    text_feeds,
)
from clipserve_models.verify import Feeds, verify

Tower = Literal["image", "text"]
GRAPHS: dict[Tower, str] = {"image": IMAGE_GRAPH, "text": TEXT_GRAPH}
# fp32 graph, graph of the variant, inputs that the writer may use -> the largest fp32 value, if that was measured
Writer = Callable[[Path, Path, Sequence[Feeds]], Largest | None]
WRITERS: dict[VariantPrecision, Writer] = {"fp16": write_fp16, "int8": write_int8}


@dataclass(frozen=True)
class Plan:
    """The plan of a variant. Encoders not in `towers` stay fp32."""

    folder: Path
    photos: Path
    out: Path
    precision: VariantPrecision
    towers: tuple[Tower, ...] = ("image", "text")


def plan_of(
    folder: Path,
    photos: Path,
    precision: VariantPrecision,
    *,
    out: Path | None = None,
    towers: tuple[Tower, ...] = ("image", "text"),
) -> Plan:
    """The plan; without `out` for the folder NAME@PRECISION beside the artifact.

    Raises:
        ArtifactError: `folder` is not an artifact.
        ModelsError: the artifact cannot have this variant, there is nothing to do, or `out` exists.
    """
    manifest = read_manifest(folder)
    if manifest.precision != "fp32":
        raise ModelsError(f"{folder} is already {manifest.precision}: give the fp32 artifact it was made of.")
    if not towers:
        raise ModelsError("--no-image with --no-text leaves nothing to do.")
    out = out or folder.resolve().with_name(f"{manifest.name}@{precision}")
    if out.exists():
        raise ModelsError(f"{out} exists. Remove it, or choose another folder with --out.")
    return Plan(folder, photos, out, precision, towers)


def make_variant(
    plan: Plan, write: Writer | None = None, say: Callable[[str], None] = print
) -> ModelManifest:
    """Write the variant to `plan.out`, if it is faithful to fp32.

    `write`: the writer of graphs; default: the precision's.

    Raises:
        ArtifactError: a file of the fp32 artifact was altered.
        ModelsError: there are too few photos, the writer fails, or the variant is not faithful and is deleted.
    """
    manifest = read_manifest(plan.folder)
    verify_files(plan.folder, manifest)
    photos = read_photos(plan.photos, manifest.image)
    calibration, judges = split(photos, calibrate=plan.precision == "int8")
    say(f"{len(calibration)} photos calibrate, {len(judges)} others judge, with {len(EVERYDAY)} labels")
    # A writer that fits nothing to its photos may also use those of the gate.
    fits = plan.precision == "int8"
    feeds = _feeds(plan.folder, manifest, calibration if fits else photos)
    found: list[Largest] = []
    with replacing(plan.out) as variant:
        for tower, graph in GRAPHS.items():
            if tower not in plan.towers:
                for name in (graph, *external_files(plan.folder / graph)):
                    shutil.copyfile(plan.folder / name, variant / name)
                continue
            say(f"writing {graph} in {plan.precision}")
            largest = (write or WRITERS[plan.precision])(plan.folder / graph, variant / graph, feeds[tower])
            found += [largest] if largest else []
        shutil.copyfile(plan.folder / TOKENIZER, variant / TOKENIZER)

        say("comparing with fp32")
        made = _judged(plan, variant, manifest, judges, len(calibration), found)
        write_manifest(variant, made)
        _self_test(variant, plan.precision)
    say(f"wrote {plan.out}: {made.fingerprint()}")
    return made


def table(plan: Plan, made: ModelManifest) -> str:
    """For people: each line has a name, fp32's figure, the variant's figure and the least that was needed."""
    before, after = (
        f"{sum(path.stat().st_size for path in folder.glob('*.onnx*')) / 1e6:.1f}"
        for folder in (plan.folder, plan.out)
    )
    rows = [("", "fp32", plan.precision, "needed"), ("size, MB", before, after, "")]
    if made.variant is not None:
        for verdict in gate.verdicts(plan.precision, made.variant):
            rows.append((verdict.what, "", verdict.shown, f">= {verdict.bound}"))
    return "\n".join(f"{a:<30}{b:>8}{c:>14}  {d}".rstrip() for a, b, c, d in rows)


def _feeds(folder: Path, manifest: ModelManifest, photos: Pixels) -> dict[Tower, list[Feeds]]:
    """Inputs of each encoder that a writer may use, one photo a batch. The gate uses other prompts."""
    templates = TEMPLATE_SETS["imagenet-7"].templates
    prompts = [fill(template, label) for label in EVERYDAY for template in templates]
    some = [prompts[row] for row in spread(len(prompts), CALIBRATION_PROMPTS)]
    return {
        "image": [*image_feeds(photos[spread(len(photos), MAX_CALIBRATION_PHOTOS)], batch=1)],
        "text": [*text_feeds(some, load_tokenizer(folder, manifest.text), manifest.text)],
    }


def _judged(
    plan: Plan,
    variant: Path,
    fp32: ModelManifest,
    judges: Pixels,
    calibration_photos: int,
    found: Sequence[Largest],
) -> ModelManifest:
    """The manifest of the variant, if the gate accepts it.

    The reference vectors stay those of fp32, so that the service's self-test checks the distance to fp32 again.
    """
    before, after = (gate.encode(folder, fp32, judges) for folder in (plan.folder, variant))
    largest = max(found, key=lambda each: each.value, default=None)
    record = gate.measure(before, after, trained=not fp32.source.random_weights) | {
        "made_of": fp32.fingerprint(),
        "method": "static" if plan.precision == "int8" else None,
        "towers": list(plan.towers),
        "calibration_photos": calibration_photos,
        "largest_value": largest and largest.value,
        "largest_tensor": largest and f"{largest.graph}: {largest.tensor}",
    }
    changes = {
        "name": f"{fp32.name}@{plan.precision}",
        "precision": plan.precision,
        "files": checksums(variant),
        "variant": record,
    }
    made = ModelManifest.model_validate(fp32.model_dump() | changes)
    if made.variant is not None:
        gate.judge(plan.precision, made.variant)
    return made


def _self_test(variant: Path, precision: VariantPrecision) -> None:
    try:
        verify(variant)
    except ArtifactError as error:
        raise ModelsError(
            f"the service would refuse the {precision} variant, which was deleted: {error}"
        ) from None
