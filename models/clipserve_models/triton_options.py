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
    """How Triton gathers calls: the most rows of one, seconds to wait for others, and instances of a model."""

    max_batch_size: int
    max_queue_delay: float = 0.0
    concurrency: int = 1


@dataclass(frozen=True)
class RepositoryOptions:
    """How Triton serves an artifact.

    Attributes:
        backend: `onnxruntime`: Triton's backend of that name. `tensorrt`: plans (`triton_plans`).
        device: what it runs on. `tensorrt` runs on a GPU only.
        image, text: `concurrency` is the number of instances of an encoder, each with its copy of the weights.
        threads: of one call on the CPU; 0: all cores of the server.
        queue_timeout: seconds that a request may wait; a request may set less, not more.
        max_queue_size: requests that may wait; further ones are refused.
    """

    backend: BackendName
    device: Device
    image: BatchPolicy
    text: BatchPolicy
    threads: int = 0
    queue_timeout: float = 10.0
    max_queue_size: int = 128


# Two instances everywhere, so that one computes while the other receives its input: on two CPU cores they reach 0.9
# to 1.0 of the speed of onnxruntime without Triton, and a single one 0.8 to 0.9. A single one can also stand idle:
# Triton's batcher misses that it has become free, and looks again after up to 0.5 s. Forty full calls of 64 images
# to a model that computes nothing took 0.4 to 9.5 s with one instance, 0.4 to 1.6 s with two. Large batches are for
# GPUs: two calls of a gateway, of which Triton splits none.
_CPU_IMAGE, _CPU_TEXT = BatchPolicy(8, concurrency=2), BatchPolicy(32, concurrency=2)
_GPU_IMAGE, _GPU_TEXT = (BatchPolicy(2 * CALL_ROWS[tower], concurrency=2) for tower in TOWERS)
DEFAULTS: dict[Device, RepositoryOptions] = {
    "cpu": RepositoryOptions("onnxruntime", "cpu", _CPU_IMAGE, _CPU_TEXT),
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
        rows, count = rows or own.max_batch_size, instances or own.concurrency
        return replace(own, max_batch_size=rows, concurrency=count)

    image, text = policy(default.image, max_batch_images), policy(default.text, max_batch_texts)
    return replace(default, backend=backend, image=image, text=text)
