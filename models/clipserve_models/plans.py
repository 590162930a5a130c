"""The record of TensorRT plans: plans.json, beside the plans in the artifact's folder.

A plan does not contain its origin, and works with one version of TensorRT on one model of GPU. The record has all
of these, so that a plan of another artifact, GPU or TensorRT is refused before Triton loads it. A plan computes
in the artifact's precision: TensorRT takes the type of every tensor from the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import ModelManifest
from clipserve_models.artifact import sha256_of
from clipserve_models.errors import ModelsError
from clipserve_models.triton_towers import Tower

# Graph -> its plan.
PLANS = {IMAGE_GRAPH: "image.plan", TEXT_GRAPH: "text.plan"}
RECORD_NAME = "plans.json"

Shapes = dict[str, tuple[int, ...]]  # an input's name -> its shape, rows included


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(_Frozen):
    """The shapes of one optimization profile of a plan. `usual`: the shape that it is tuned for."""

    smallest: Shapes
    usual: Shapes
    largest: Shapes


class PlansRecord(_Frozen):
    """`plans.json`.

    Attributes:
        artifact: the fingerprint of the artifact that the plans were built from.
        tensorrt: the version of TensorRT that built them, as "10.13.1".
        gpu: the GPU that they were built on, as nvidia-smi names it.
        files: SHA-256 of each plan, in hexadecimal, by name.
        profiles: the optimization profiles of each plan, in the plan's order.
    """

    artifact: str
    tensorrt: str
    gpu: str
    files: dict[str, str]
    profiles: dict[str, list[Profile]]


def profiles(tower: Tower) -> list[Profile]:
    """One profile for each shape of a row, from one row to a full batch, tuned for a full call of a gateway.

    Each text length has its own profile: a profile over all lengths would be tuned for only one of them.
    """
    rows = tower.policy.max_batch_size
    return [
        Profile(
            smallest=_with_rows(tower, shape, 1),
            usual=_with_rows(tower, shape, tower.full_call),
            largest=_with_rows(tower, shape, rows),
        )
        for shape in tower.shapes
    ]


def write_record(
    folder: Path, manifest: ModelManifest, towers: Sequence[Tower], tensorrt: str, gpu: str
) -> PlansRecord:
    """Record the plans in `folder`, which were built from its artifact with the `profiles` of `towers`."""
    record = PlansRecord(
        artifact=manifest.fingerprint(),
        tensorrt=tensorrt,
        gpu=gpu,
        files={plan: sha256_of(folder / plan) for plan in PLANS.values()},
        profiles={PLANS[tower.graph]: profiles(tower) for tower in towers},
    )
    (folder / RECORD_NAME).write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
    return record


def read_record(folder: Path, manifest: ModelManifest, towers: Sequence[Tower]) -> PlansRecord:
    """The record of the plans in `folder`, checked against the plans and the artifact.

    Raises:
        ModelsError: a plan or the record is missing, a plan differs from the record, or the plans were built from
            another artifact or for other shapes than those of `towers`.
    """
    again = f"build the plans again, on a GPU: `clipserve models tensorrt {folder}`."
    for plan in PLANS.values():
        if not (folder / plan).is_file():
            raise ModelsError(
                f"{folder / plan} is not there: `clipserve models tensorrt {folder}` makes it, on a GPU."
            )
    record = _parsed(folder / RECORD_NAME, again)
    if record.artifact != manifest.fingerprint():
        raise ModelsError(
            f"the plans in {folder} were built from {record.artifact}, but the artifact there is "
            f"{manifest.fingerprint()}: {again}"
        )
    for plan in PLANS.values():
        if (actual := sha256_of(folder / plan)) != record.files.get(plan):
            raise ModelsError(
                f"{folder / plan} has SHA-256 {actual}, but {RECORD_NAME} says {record.files.get(plan)}: {again}"
            )
    for tower in towers:
        plan, needed = PLANS[tower.graph], profiles(tower)
        if (built := record.profiles.get(plan, [])) != needed:
            raise ModelsError(
                f"{folder / plan} takes {_told(built)}, but Triton is to send it {_told(needed)}: give "
                f"--max-batch-images and --max-batch-texts as for the plans, or {again}"
            )
    return record


def _parsed(path: Path, again: str) -> PlansRecord:
    try:
        return PlansRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelsError(
            f"{path} is not there, so nobody knows what the plans were built from, or for which GPU: {again}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelsError(
            f"{path} is not a record of plans ({'.'.join(map(str, first['loc']))}: {first['msg']}): {again}"
        ) from None


def _told(made: Sequence[Profile]) -> str:
    """The largest shapes, for people."""
    return " or ".join(trtexec_shapes(profile.largest) for profile in made) or "no shape"


def trtexec_shapes(shapes: Shapes) -> str:
    """The shapes as an argument of trtexec: `token_ids:256x16,lengths:256`."""
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())


def _with_rows(tower: Tower, shape: tuple[tuple[int, ...], ...], rows: int) -> Shapes:
    return {
        tensor.name: (rows, *(dims if tensor.graph_dims is None else tensor.graph_dims))
        for tensor, dims in zip(tower.inputs, shape, strict=True)
    }
