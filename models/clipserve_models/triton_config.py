"""Triton's configuration for an artifact: one model for each encoder, written as config.pbtxt.

`clipserve.engine.triton.contract` has their names and tensors. Requests of different text lengths do not share a
batch.

The configuration is NVIDIA's own protocol buffer, so that no field can be misspelled, and complete, so that Triton
infers nothing from the graph.
"""

from __future__ import annotations

from collections.abc import Iterator

from tritonclient.grpc import model_config_pb2 as pb

from clipserve.clip.artifact import TEXT_GRAPH
from clipserve.clip.manifest import ModelManifest
from clipserve.engine.triton.contract import (
    FINGERPRINT,
    LENGTHS,
    PRECISION,
    TEXT_LENGTHS,
    Tensor,
    output,
    stated_lengths,
)
from clipserve_models.triton_options import BackendName, BatchPolicy, RepositoryOptions
from clipserve_models.triton_towers import Tower

MODEL_FILES: dict[BackendName, str] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}


def config(manifest: ModelManifest, tower: Tower, options: RepositoryOptions) -> pb.ModelConfig:
    """config.pbtxt of a tower.

    Its parameters tell the service which artifact is served (`fingerprint`), in which precision (`precision`), and,
    for the text model, which lengths to pad to (`text_lengths`).
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
                profile=_profiles(tower, options),
            )
        ],
        model_warmup=_warm_up(tower),
        optimization=_optimization(options),
    )
    identity = {FINGERPRINT: manifest.fingerprint(), PRECISION: manifest.precision}
    if tower.graph == TEXT_GRAPH:
        identity[TEXT_LENGTHS] = stated_lengths([length for (length,), _ in tower.shapes])
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


def _profiles(tower: Tower, options: RepositoryOptions) -> list[str]:
    """The profiles of a plan, one for each shape. Triton uses only the first unless they are named."""
    if options.backend != "tensorrt" or len(tower.shapes) == 1:
        return []
    return [str(number) for number in range(len(tower.shapes))]


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
    """The backend's settings by its own names."""
    match options.backend, options.device:
        case "onnxruntime", "cpu":
            # A memory pattern is kept for every input shape; texts have many.
            return {
                "intra_op_thread_count": str(options.threads),
                "inter_op_thread_count": "1",
                "enable_mem_pattern": "0",
            }
        case "onnxruntime", _:
            # If a model has any parameter, as ours have, the backend reads these only from the parameters: it
            # overwrites the accelerator's values by defaults (onnxruntime_backend, onnxruntime.cc).
            return {
                "intra_op_thread_count": "1",
                "enable_mem_pattern": "0",
                "cudnn_conv_algo_search": "1",  # heuristic: an exhaustive search would run for each new batch size
                "arena_extend_strategy": "1",  # the requested size, not the next power of two
            }
        case _:
            return {}


def _optimization(options: RepositoryOptions) -> pb.ModelOptimizationPolicy | None:
    """CUDA as onnxruntime's provider, without TF32, which is on by default and less precise."""
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
    """Warm up each shape in the smallest and the largest batch, so that no first request is slow."""
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
