"""An fp32 artifact -> its int8 variant, published only if `models.gate` accepts it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models import gate
from models.artifact import checksums, replacing, write_manifest
from models.errors import ModelsError, not_installed
from models.gate import Method, Tower
from models.samples import CALIBRATION_PROMPTS, Photos, read_photos, split, spread, text_feeds
from models.verify import Feeds, session_of, verify
from service.clip.artifact import (
    IMAGE_GRAPH,
    TEXT_GRAPH,
    TOKENIZER,
    ArtifactError,
    read_manifest,
    verify_files,
)
from service.clip.manifest import ModelManifest
from service.clip.prompts import fill
from service.clip.template_sets import TEMPLATE_SETS
from service.clip.tokenizer import load_tokenizer

# (fp32 graph, int8 graph to write, method, calibration inputs)
WriteInt8 = Callable[[Path, Path, Method, Sequence[Feeds]], None]
TOWERS: tuple[Tower, ...] = ("image", "text")
_GRAPHS: dict[Tower, str] = {"image": IMAGE_GRAPH, "text": TEXT_GRAPH}


@dataclass(frozen=True)
class Plan:
    """What to make. `classes` gives the photos labels, as for `evaluate`; a tower not in `towers` stays fp32."""

    folder: Path
    photos: Path
    out: Path
    classes: Path | None = None
    method: Method = "static"
    towers: tuple[Tower, ...] = TOWERS


def plan_of(
    folder: Path,
    photos: Path,
    out: Path | None = None,
    classes: Path | None = None,
    method: Method = "static",
    towers: tuple[Tower, ...] = TOWERS,
) -> Plan:
    """The plan with its default folder, NAME@int8 beside the artifact.

    Raises:
        ArtifactError: `folder` is not an artifact.
        ModelsError: it cannot be quantized, or `out` exists.
    """
    manifest = read_manifest(folder)
    if manifest.precision != "fp32":
        raise ModelsError(f"{folder} is already {manifest.precision}: give the fp32 artifact it was made of.")
    if strangers := manifest.files.keys() - {IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER}:
        raise ModelsError(
            f"{folder} keeps weights beside its graphs ({', '.join(sorted(strangers))}): models above 2 GB cannot "
            "be quantized yet."
        )
    if not towers:
        raise ModelsError("--no-image with --no-text leaves nothing to do.")
    out = out or folder.resolve().with_name(f"{manifest.name}@int8")
    if out.exists():
        raise ModelsError(f"{out} exists. Remove it, or choose another folder with --out.")
    return Plan(folder, photos, out, classes, method, towers)


def quantize(
    plan: Plan, write_int8: WriteInt8 | None = None, say: Callable[[str], None] = print
) -> ModelManifest:
    """Write the int8 variant to `plan.out`, if it is faithful to fp32.

    `write_int8` writes one graph; by default that of `models.int8_graph`.

    Raises:
        ArtifactError: a file of the fp32 artifact was altered.
        ModelsError: there are too few photos, or the variant is not faithful; its files are deleted.
    """
    manifest = read_manifest(plan.folder)
    verify_files(plan.folder, manifest)
    photos = read_photos(plan.photos, plan.classes, manifest.image)
    calibration, judges = split(photos, calibrate=plan.method == "static")
    write = write_int8 or _writer()
    say(f"{len(calibration)} photos calibrate, {len(judges)} others judge, with {len(photos.labels)} labels")
    with replacing(plan.out) as variant, _emptied_on_failure(variant):
        for tower, feeds in _calibration(plan.folder, manifest, calibration).items():
            graph = _GRAPHS[tower]
            if tower in plan.towers:
                say(f"quantizing {graph}")
                write(plan.folder / graph, variant / graph, plan.method, feeds)
            else:
                shutil.copyfile(plan.folder / graph, variant / graph)
        shutil.copyfile(plan.folder / TOKENIZER, variant / TOKENIZER)

        say("comparing with fp32")
        made = _judged(plan, variant, manifest, judges, len(calibration))
        write_manifest(variant, made)
        _self_test(variant)
    say(f"wrote {plan.out}: {made.fingerprint()}")
    return made


def _judged(
    plan: Plan, variant: Path, fp32: ModelManifest, judges: Photos, calibration_photos: int
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
        method=plan.method,
        towers=list(plan.towers),
        calibration_photos=calibration_photos,
        trained=not fp32.source.random_weights,
    )
    gate.judge(measured)
    changes = {
        "name": f"{fp32.name}@int8",
        "precision": "int8",
        "files": checksums(variant),
        "quantization": measured.model_dump(),
    }
    return ModelManifest.model_validate(fp32.model_dump() | changes)


def _writer() -> WriteInt8:
    try:
        from models.int8_graph import write_int8
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    return write_int8


def _calibration(folder: Path, manifest: ModelManifest, photos: Photos) -> dict[Tower, list[Feeds]]:
    """The inputs that calibrate each graph, one photo in a batch. The gate judges by other prompts."""
    templates = TEMPLATE_SETS["imagenet-7"].templates
    prompts = [fill(template, label) for label in photos.labels for template in templates]
    some = [prompts[row] for row in spread(len(prompts), CALIBRATION_PROMPTS)]
    texts = text_feeds(some, load_tokenizer(folder, manifest.text), manifest.text)
    return {"image": list(photos.feeds(batch=1)), "text": list(texts)}


def _check_contract(folder: Path, variant: Path) -> None:
    for graph in (IMAGE_GRAPH, TEXT_GRAPH):
        before, after = (
            [(node.name, node.type, node.shape) for node in (*session.get_inputs(), *session.get_outputs())]
            for session in (session_of(folder / graph), session_of(variant / graph))
        )
        if before != after:
            raise ModelsError(f"{graph} of the variant takes and gives {after}; the fp32 graph has {before}.")


def _self_test(variant: Path) -> None:
    try:
        verify(variant)
    except ArtifactError as error:
        raise ModelsError(f"the service would refuse the int8 variant, which was deleted: {error}") from None


@contextmanager
def _emptied_on_failure(folder: Path) -> Iterator[None]:
    """Delete the files of a variant that failed, so that nobody serves it by mistake."""
    try:
        yield
    except BaseException:
        for path in folder.iterdir():
            path.unlink()
        raise
