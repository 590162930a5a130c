"""The options of Triton for an artifact, and the defaults of each device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from clipserve.engine.triton.contract import CALL_ROWS, TOWERS
from clipserve_models.errors import ModelsError

BackendName = Literal["onnxruntime", "tensorrt"]
Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class BatchPolicy:
    """The most rows of one call to a model, and its instances, each with its copy of the weights."""

    max_batch_size: int
    # One computes while the other receives its input: on two CPU cores two reach 0.9 to 1.0 of the speed of
    # onnxruntime without Triton, and a single one 0.8 to 0.9. A single one can also stand idle: Triton's batcher
    # misses that it has become free, and looks again after up to 0.5 s. Forty full calls of 64 images to a model
    # that computes nothing took 0.4 to 9.5 s with one instance, 0.4 to 1.6 s with two.
    instances: int = 2


@dataclass(frozen=True)
class RepositoryOptions:
    """How Triton serves an artifact.

    Attributes:
        backend: `onnxruntime`: Triton's backend of that name. `tensorrt`: plans (`triton_plans`), on a GPU only.
        max_queue_size: requests that may wait; further ones are refused.
    """

    backend: BackendName
    device: Device
    image: BatchPolicy
    text: BatchPolicy
    max_queue_size: int


# Large batches are for GPUs: two calls of a gateway, of which Triton splits none.
_GPU_IMAGE, _GPU_TEXT = (BatchPolicy(2 * CALL_ROWS[tower]) for tower in TOWERS)
DEFAULTS: dict[Device, RepositoryOptions] = {
    "cpu": RepositoryOptions("onnxruntime", "cpu", BatchPolicy(8), BatchPolicy(32), max_queue_size=128),
    "gpu": RepositoryOptions("onnxruntime", "gpu", _GPU_IMAGE, _GPU_TEXT, max_queue_size=1024),
}


def options_of(
    backend: BackendName,
    device: Device | None = None,
    max_batch_images: int | None = None,
    max_batch_texts: int | None = None,
    instances: int | None = None,
) -> RepositoryOptions:
    """The defaults of `device` (gpu), overridden by the given arguments.

    Raises:
        ModelsError: the backend does not run on `device`.
    """
    default = DEFAULTS[device or "gpu"]
    if backend == "tensorrt" and default.device != "gpu":
        raise ModelsError("the backend tensorrt runs on the gpu only.")

    def policy(own: BatchPolicy, rows: int | None) -> BatchPolicy:
        return BatchPolicy(rows or own.max_batch_size, instances or own.instances)

    image, text = policy(default.image, max_batch_images), policy(default.text, max_batch_texts)
    return replace(default, backend=backend, image=image, text=text)
