"""Triton's configuration for an artifact: one model for each tower, written as config.pbtxt.

`service.engine.triton.contract` has their names and tensors. Requests of different text lengths are not put in one
batch.

The configuration is NVIDIA's own protocol buffer, so that a field cannot be misspelled, and complete, so that
Triton does not guess anything from the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from tritonclient.grpc import model_config_pb2 as pb

from models.errors import ModelsError
from service.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from service.clip.manifest import ModelManifest, Precision
from service.engine.batch_queue import BatchPolicy
from service.engine.triton.contract import (
    FINGERPRINT,
    LENGTHS,
    PRECISION,
    Tensor,
    inputs,
    output,
    triton_model,
)

BackendName = Literal["python", "onnxruntime", "tensorrt"]
Device = Literal["cpu", "gpu"]
T = TypeVar("T")

MODEL_FILES: dict[BackendName, str] = {
    "python": "model.py",
    "onnxruntime": "model.onnx",
    "tensorrt": "model.plan",
}


@dataclass(frozen=True)
class RepositoryOptions:
    """How Triton serves an artifact.

    Attributes:
        backend: `python`: onnxruntime in Triton's Python backend, for a server that has neither of the others.
            `onnxruntime`: Triton's own backend of that name. `tensorrt`: plans made by `python -m models tensorrt`.
        device: what it runs on. `python` runs on the CPU only, `tensorrt` on a GPU only.
        image, text: `concurrency` is the number of instances of a tower, each with its copy of the weights.
        threads: of one call on the CPU; 0: as many as the cores that the server sees.
        queue_timeout: seconds that a request may wait; a request may ask for less, not for more.
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
# to 1.0 of the speed of onnxruntime without Triton, and a single one 0.8 to 0.9. Large batches are for GPUs.
_CPU_IMAGE, _CPU_TEXT = BatchPolicy(8, concurrency=2), BatchPolicy(32, concurrency=2)
_GPU_IMAGE, _GPU_TEXT = BatchPolicy(64, concurrency=2), BatchPolicy(256, concurrency=2)
DEFAULTS: dict[BackendName, RepositoryOptions] = {
    "python": RepositoryOptions("python", "cpu", _CPU_IMAGE, _CPU_TEXT),
    "onnxruntime": RepositoryOptions("onnxruntime", "gpu", _GPU_IMAGE, _GPU_TEXT, max_queue_size=1024),
    "tensorrt": RepositoryOptions("tensorrt", "gpu", _GPU_IMAGE, _GPU_TEXT, max_queue_size=1024),
}


def options_of(
    backend: BackendName,
    device: Device | None = None,
    max_batch_images: int | None = None,
    max_batch_texts: int | None = None,
    instances: int | None = None,
    queue_delay: float | None = None,
    threads: int | None = None,
    queue_timeout: float | None = None,
    max_queue_size: int | None = None,
) -> RepositoryOptions:
    """The defaults of `backend`; each argument that is given replaces one.

    Raises:
        ModelsError: the backend does not run on `device`.
    """
    default = DEFAULTS[backend]
    if backend != "onnxruntime" and device not in (None, default.device):
        raise ModelsError(f"the backend {backend} runs on the {default.device} only.")

    def policy(own: BatchPolicy, rows: int | None) -> BatchPolicy:
        return BatchPolicy(
            _given(rows, own.max_batch_size),
            _given(queue_delay, own.max_queue_delay),
            _given(instances, own.concurrency),
        )

    return RepositoryOptions(
        backend,
        _given(device, default.device),
        policy(default.image, max_batch_images),
        policy(default.text, max_batch_texts),
        _given(threads, default.threads),
        _given(queue_timeout, default.queue_timeout),
        _given(max_queue_size, default.max_queue_size),
    )


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


@dataclass(frozen=True)
class Tower:
    """One graph of an artifact. `shapes`: the dims of all inputs, for each shape that the service sends."""

    name: str
    graph: str
    inputs: tuple[Tensor, ...]
    policy: BatchPolicy
    shapes: tuple[tuple[tuple[int, ...], ...], ...]


def towers(manifest: ModelManifest, options: RepositoryOptions) -> tuple[Tower, Tower]:
    """The two models that an artifact becomes."""
    (pixels,), (token_ids, lengths) = inputs(manifest, "image"), inputs(manifest, "text")
    image = Tower(
        triton_model(manifest, "image"),
        IMAGE_GRAPH,
        (pixels,),
        options.image,
        ((pixels.dims,),),
    )
    text = Tower(
        triton_model(manifest, "text"),
        TEXT_GRAPH,
        (token_ids, lengths),
        options.text,
        tuple(((length,), lengths.dims) for length in manifest.text.lengths),
    )
    return image, text


def config(
    manifest: ModelManifest, tower: Tower, options: RepositoryOptions, narrower: Precision | None = None
) -> pb.ModelConfig:
    """config.pbtxt of a tower.

    Its parameters `fingerprint` and `precision` tell the service which artifact is served, and what computes it.
    `narrower`: the precision that computes, where it is not the artifact's own.
    """
    group = pb.ModelInstanceGroup
    made = pb.ModelConfig(
        name=tower.name,
        backend=options.backend,
        default_model_filename=MODEL_FILES[options.backend],
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
        max_batch_size=tower.policy.max_batch_size,
        input=[_input(tensor) for tensor in tower.inputs],
        output=[_output(output(manifest))],
        dynamic_batching=_dynamic_batching(tower.policy, options),
        instance_group=[
            group(
                kind=group.KIND_GPU if options.device == "gpu" else group.KIND_CPU,
                count=tower.policy.concurrency,
            )
        ],
        model_warmup=_warm_up(tower),
        optimization=_accelerators(options),
    )
    identity = {
        FINGERPRINT: manifest.fingerprint(precision=narrower),
        PRECISION: narrower or manifest.precision,
    }
    for key, value in (_parameters(options) | identity).items():
        made.parameters[key].string_value = value
    return made


def warm_up_file(length: int) -> str:
    """The name of the file that holds the warm-up's `lengths`, which must not be zero."""
    return f"lengths-{length}"


def _input(tensor: Tensor) -> pb.ModelInput:
    reshape = None if tensor.graph_dims is None else pb.ModelTensorReshape(shape=tensor.graph_dims)
    return pb.ModelInput(name=tensor.name, data_type=_type(tensor), dims=tensor.dims, reshape=reshape)


def _output(tensor: Tensor) -> pb.ModelOutput:
    return pb.ModelOutput(name=tensor.name, data_type=_type(tensor), dims=tensor.dims)


def _type(tensor: Tensor) -> pb.DataType:
    return pb.DataType.Value(tensor.data_type)


def _dynamic_batching(policy: BatchPolicy, options: RepositoryOptions) -> pb.ModelDynamicBatching:
    return pb.ModelDynamicBatching(
        max_queue_delay_microseconds=round(policy.max_queue_delay * 1e6),
        default_queue_policy=pb.ModelQueuePolicy(
            timeout_action=pb.ModelQueuePolicy.REJECT,
            default_timeout_microseconds=round(options.queue_timeout * 1e6),
            allow_timeout_override=True,
            max_queue_size=options.max_queue_size,
        ),
    )


def _parameters(options: RepositoryOptions) -> dict[str, str]:
    """Settings of the backend, under the names that it has for them."""
    match options.backend, options.device:
        case "python", _:
            return {"threads": str(options.threads)}
        case "onnxruntime", "cpu":
            # A memory pattern is kept for every shape of input ever seen; text has many.
            return {
                "intra_op_thread_count": str(options.threads),
                "inter_op_thread_count": "1",
                "enable_mem_pattern": "0",
            }
        case "onnxruntime", _:
            # Where a model has any parameter, as ours have, the backend takes these from the parameters alone: what
            # the accelerator says of them is overwritten by defaults (onnxruntime_backend, onnxruntime.cc).
            return {
                "intra_op_thread_count": "1",
                "enable_mem_pattern": "0",
                "cudnn_conv_algo_search": "1",  # heuristic: an exhaustive search is made for each new size of batch
                "arena_extend_strategy": "1",  # as much as is asked for, not the next power of two
            }
        case _:
            return {}


def _accelerators(options: RepositoryOptions) -> pb.ModelOptimizationPolicy | None:
    """CUDA as onnxruntime's provider. TF32 is on by default, and is not what an fp32 fingerprint promises."""
    if (options.backend, options.device) != ("onnxruntime", "gpu"):
        return None
    accelerator = pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator
    cuda = accelerator(name="cuda", parameters={"use_tf32": "0"})
    return pb.ModelOptimizationPolicy(
        execution_accelerators=pb.ModelOptimizationPolicy.ExecutionAccelerators(
            gpu_execution_accelerator=[cuda]
        )
    )


def _warm_up(tower: Tower) -> Iterator[pb.ModelWarmup]:
    """Each shape in the smallest and the largest batch, so that no request is slow because it is the first."""
    for shape in tower.shapes:
        for rows in sorted({1, tower.policy.max_batch_size}):
            sample = pb.ModelWarmup(name=f"{rows} of {'x'.join(map(str, shape[0]))}", batch_size=rows)
            for tensor, dims in zip(tower.inputs, shape, strict=True):
                content = sample.inputs[tensor.name]
                content.data_type = _type(tensor)
                content.dims.extend(dims)
                if tensor.name == LENGTHS:
                    content.input_data_file = warm_up_file(shape[0][0])
                else:
                    content.zero_data = True
            yield sample
