"""Triton's configuration for an artifact: one model for each encoder, written as config.pbtxt.

`clipserve.engine.triton.contract` has their names and tensors. Requests of different text lengths do not share a
batch.

The configuration is NVIDIA's own protocol buffer, so that no field can be misspelled, and complete, so that Triton
infers nothing from the graph.
"""

from __future__ import annotations

from collections.abc import Iterator

from tritonclient.grpc import model_config_pb2 as pb

from clipserve.clip.manifest import ModelManifest
from clipserve.engine.triton.contract import FINGERPRINT, LENGTHS, Tensor, output
from clipserve_models.triton_options import BackendName, Device, RepositoryOptions
from clipserve_models.triton_towers import Tower

MODEL_FILES: dict[BackendName, str] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
QUEUE_SECONDS = 10.0  # that a request may wait; a request may set less, not more
# The backends' settings by their own names. A memory pattern is kept for every input shape; texts have many.
# If a model has any parameter, as ours have, onnxruntime's backend reads CUDA's only from the parameters: it
# overwrites the accelerator's values by defaults (onnxruntime_backend, onnxruntime.cc).
_PARAMETERS: dict[tuple[BackendName, Device], dict[str, str]] = {
    ("onnxruntime", "cpu"): {
        "intra_op_thread_count": "0",  # all cores
        "inter_op_thread_count": "1",
        "enable_mem_pattern": "0",
    },
    ("onnxruntime", "gpu"): {
        "intra_op_thread_count": "1",
        "enable_mem_pattern": "0",
        "cudnn_conv_algo_search": "1",  # heuristic: an exhaustive search would run for each new batch size
        "arena_extend_strategy": "1",  # the requested size, not the next power of two
    },
    ("tensorrt", "gpu"): {},
}


def config(manifest: ModelManifest, tower: Tower, options: RepositoryOptions) -> pb.ModelConfig:
    """config.pbtxt of a tower. Its parameter `fingerprint` tells the service which artifact is served."""
    group, result = pb.ModelInstanceGroup, output(manifest)
    # Of a plan with a profile for each shape Triton uses only the first unless they are named.
    profiles = len(tower.shapes) if options.backend == "tensorrt" and len(tower.shapes) > 1 else 0
    made = pb.ModelConfig(
        name=tower.name,
        backend=options.backend,
        default_model_filename=MODEL_FILES[options.backend],
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
        max_batch_size=tower.policy.max_batch_size,
        input=_inputs(tower),
        output=[pb.ModelOutput(name=result.name, data_type=_type(result), dims=result.dims)],
        dynamic_batching=_dynamic_batching(options),
        instance_group=[
            group(
                kind=group.KIND_GPU if options.device == "gpu" else group.KIND_CPU,
                count=tower.policy.instances,
                profile=map(str, range(profiles)),
            )
        ],
        model_warmup=_warm_up(tower),
    )
    if (options.backend, options.device) == ("onnxruntime", "gpu"):
        cuda = made.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
        cuda.parameters["use_tf32"] = "0"  # it is on by default, and less precise
    identity = {FINGERPRINT: manifest.fingerprint()}
    for key, value in (_PARAMETERS[options.backend, options.device] | identity).items():
        made.parameters[key].string_value = value
    return made


def warm_up_file(length: int) -> str:
    """The name of the file that holds the warm-up's `lengths`, which must not be zero."""
    return f"lengths-{length}"


def _type(tensor: Tensor) -> pb.DataType:
    return pb.DataType.Value(tensor.data_type)


def _inputs(tower: Tower) -> Iterator[pb.ModelInput]:
    for each in tower.inputs:
        made = pb.ModelInput(name=each.name, data_type=_type(each), dims=each.dims)
        if each.graph_dims is not None:
            made.reshape.CopyFrom(pb.ModelTensorReshape(shape=each.graph_dims))
        yield made


def _dynamic_batching(options: RepositoryOptions) -> pb.ModelDynamicBatching:
    policy = pb.ModelQueuePolicy(
        timeout_action=pb.ModelQueuePolicy.REJECT,
        default_timeout_microseconds=round(QUEUE_SECONDS * 1e6),
        allow_timeout_override=True,
        max_queue_size=options.max_queue_size,
    )
    return pb.ModelDynamicBatching(default_queue_policy=policy)


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
