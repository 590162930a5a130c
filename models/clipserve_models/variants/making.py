"""An fp32 artifact -> a variant of it in a smaller precision, published only if `gate` accepts it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
from clipserve_models.artifact import checksums, replacing, write_manifest
from clipserve_models.errors import ModelsError
from clipserve_models.variants import gate
from clipserve_models.variants.fp16 import write_fp16
from clipserve_models.variants.int8 import write_int8
from clipserve_models.variants.job import GRAPHS, Job, Largest, Method, Tower, VariantPrecision, Writer
from clipserve_models.variants.samples import MAX_CALIBRATION_PHOTOS, Photos, read_photos, split, spread
from clipserve_models.verify import session_of, verify

WRITERS: dict[VariantPrecision, Writer] = {"fp16": write_fp16, "int8": write_int8}
TOWERS: tuple[Tower, ...] = ("image", "text")


@dataclass(frozen=True)
class Plan:
    """The plan of a variant. `classes`: labels of the photos, as for `evaluate`. Encoders not in `towers` stay
    fp32.

    `method`: only for int8, else None.
    """

    folder: Path
    photos: Path
    out: Path
    precision: VariantPrecision
    classes: Path | None = None
    method: Method | None = None
    towers: tuple[Tower, ...] = TOWERS


def plan_of(
    folder: Path,
    photos: Path,
    precision: VariantPrecision,
    *,
    out: Path | None = None,
    classes: Path | None = None,
    method: Method | None = None,
    towers: tuple[Tower, ...] = TOWERS,
) -> Plan:
    """The plan with its defaults: the folder NAME@PRECISION beside the artifact, and static int8.

    Raises:
        ArtifactError: `folder` is not an artifact.
        ModelsError: the artifact cannot have this variant, an option is for another precision, or `out` exists.
    """
    manifest = read_manifest(folder)
    if manifest.precision != "fp32":
        raise ModelsError(f"{folder} is already {manifest.precision}: give the fp32 artifact it was made of.")
    if precision == "bf16":
        raise ModelsError(
            "a bf16 variant cannot be made: onnxruntime's CPU provider has no bf16 convolution (ONNX has it since "
            "opset 22), so that neither the gate nor the self-test of a service could run it. On a CPU with bf16 "
            "the OpenVINO engine computes the fp32 artifact in bf16 by itself, and the fingerprint says so."
        )
    if method and precision != "int8":
        raise ModelsError(f"--method is of int8; {precision} has none.")
    if not towers:
        raise ModelsError("--no-image with --no-text leaves nothing to do.")
    out = out or folder.resolve().with_name(f"{manifest.name}@{precision}")
    if out.exists():
        raise ModelsError(f"{out} exists. Remove it, or choose another folder with --out.")
    if precision == "int8":
        method = method or "static"
    return Plan(folder, photos, out, precision, classes, method, towers)


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
    photos = read_photos(plan.photos, plan.classes, manifest.image)
    calibration, judges = split(photos, calibrate=plan.method == "static")
    write = write or WRITERS[plan.precision]
    say(f"{len(calibration)} photos calibrate, {len(judges)} others judge, with {len(photos.labels)} labels")
    # A writer that fits nothing to its photos may also use those of the gate.
    seen = (
        calibration if plan.precision == "int8" else photos.take(spread(len(photos), MAX_CALIBRATION_PHOTOS))
    )
    with replacing(plan.out) as variant, _emptied_on_failure(variant):
        method = plan.method or "static"
        job = Job(plan.folder, manifest, variant, plan.towers, seen, method, say)
        largest = write(job)
        for tower in set(TOWERS) - set(plan.towers):
            _copy_graph(plan.folder / GRAPHS[tower], variant)
        shutil.copyfile(plan.folder / TOKENIZER, variant / TOKENIZER)

        say("comparing with fp32")
        made = _judged(plan, variant, manifest, judges, len(calibration), largest)
        write_manifest(variant, made)
        _self_test(variant, plan.precision)
    say(f"wrote {plan.out}: {made.fingerprint()}")
    return made


def _judged(
    plan: Plan,
    variant: Path,
    fp32: ModelManifest,
    judges: Photos,
    calibration_photos: int,
    largest: Largest | None,
) -> ModelManifest:
    """The manifest of the variant, if the gate accepts it.

    The reference vectors stay those of fp32, so that the service's self-test checks the distance to fp32 again.
    """
    _check_contract(plan.folder, variant)
    before, after = (gate.encode(folder, fp32, judges) for folder in (plan.folder, variant))
    measured = gate.measure(
        before,
        after,
        judges,
        made_of=fp32.fingerprint(),
        method=plan.method,
        towers=list(plan.towers),
        calibration_photos=calibration_photos,
        largest=largest,
        trained=not fp32.source.random_weights,
    )
    gate.judge(plan.precision, measured)
    changes = {
        "name": f"{fp32.name}@{plan.precision}",
        "precision": plan.precision,
        "files": checksums(variant),
        "variant": measured.model_dump(),
    }
    return ModelManifest.model_validate(fp32.model_dump() | changes)


def _copy_graph(graph: Path, folder: Path) -> None:
    for name in (graph.name, *external_files(graph)):
        shutil.copyfile(graph.with_name(name), folder / name)


def _check_contract(folder: Path, variant: Path) -> None:
    for graph in (IMAGE_GRAPH, TEXT_GRAPH):
        before, after = (
            [(node.name, node.type, node.shape) for node in (*session.get_inputs(), *session.get_outputs())]
            for session in (session_of(folder / graph), session_of(variant / graph))
        )
        if before != after:
            raise ModelsError(f"{graph} of the variant takes and gives {after}; the fp32 graph has {before}.")


def _self_test(variant: Path, precision: VariantPrecision) -> None:
    try:
        verify(variant)
    except ArtifactError as error:
        raise ModelsError(
            f"the service would refuse the {precision} variant, which was deleted: {error}"
        ) from None


@contextmanager
def _emptied_on_failure(folder: Path) -> Iterator[None]:
    """Delete the files of a failed variant, so that nobody serves it by mistake."""
    try:
        yield
    except BaseException:
        for path in folder.iterdir():
            path.unlink()
        raise
