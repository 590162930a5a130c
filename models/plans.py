"""The record of TensorRT plans: plans.json, beside the plans in the artifact's folder.

A plan does not say what it was made from, nor in which precision it computes. The record does, so that Triton's
configuration can name the precision that really computes, and a plan of another artifact is never served.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import ModelsError
from service.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from service.clip.manifest import ModelManifest, Precision

# Graph -> its plan.
PLANS = {IMAGE_GRAPH: "image.plan", TEXT_GRAPH: "text.plan"}
RECORD_NAME = "plans.json"


class PlansRecord(BaseModel):
    """`plans.json`.

    Attributes:
        artifact: the fingerprint of the artifact that the plans were built from.
        precision: what the plans compute in.
        tensorrt: the version of TensorRT that built them; None if it did not say.
        files: SHA-256 of each plan, in hexadecimal, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact: str
    precision: Precision
    tensorrt: str | None
    files: dict[str, str]

    def narrower(self, manifest: ModelManifest) -> Precision | None:
        """The precision of the plans where it is not the artifact's own; for `ModelManifest.fingerprint`."""
        return None if self.precision == manifest.precision else self.precision


def write_record(
    folder: Path, manifest: ModelManifest, precision: Precision, tensorrt: str | None
) -> PlansRecord:
    """Record the plans that lie in `folder`, which were built from its artifact."""
    record = PlansRecord(
        artifact=manifest.fingerprint(),
        precision=precision,
        tensorrt=tensorrt,
        files={plan: _digest(folder / plan) for plan in PLANS.values()},
    )
    (folder / RECORD_NAME).write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
    return record


def read_record(folder: Path, manifest: ModelManifest) -> PlansRecord:
    """The record of the plans in `folder`, after comparing it with the plans and with the artifact.

    Raises:
        ModelsError: a plan or the record is missing, a plan is another one than the record says, or the plans were
            built from another artifact.
    """
    again = f"build the plans again, on a GPU: `clipserve models tensorrt {folder}`."
    for plan in PLANS.values():
        if not (folder / plan).is_file():
            raise ModelsError(
                f"{folder / plan} is not there: `clipserve models tensorrt {folder}` makes it, on a GPU."
            )
    path = folder / RECORD_NAME
    try:
        record = PlansRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelsError(
            f"{path} is not there, so nobody knows what the plans were built from or which precision they compute "
            f"in: {again}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelsError(
            f"{path} is not a record of plans ({'.'.join(map(str, first['loc']))}: {first['msg']}): {again}"
        ) from None
    if record.artifact != manifest.fingerprint():
        raise ModelsError(
            f"the plans in {folder} were built from {record.artifact}, but the artifact there is "
            f"{manifest.fingerprint()}: {again}"
        )
    for plan in PLANS.values():
        if (actual := _digest(folder / plan)) != record.files.get(plan):
            raise ModelsError(
                f"{folder / plan} has SHA-256 {actual}, but {RECORD_NAME} says {record.files.get(plan)}: {again}"
            )
    return record


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
