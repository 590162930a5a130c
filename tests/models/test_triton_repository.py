"""The repositories that are written for Triton, read back as Triton reads them, against the real graphs."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import TextSpec
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.triton.contract import triton_model
from clipserve_models.errors import ModelsError
from clipserve_models.triton_options import (
    DEFAULTS,
    BackendName,
    BatchPolicy,
    Device,
    RepositoryOptions,
    options_of,
)
from clipserve_models.triton_plans import KEY_NAME, PLANS
from clipserve_models.triton_repository import write_repository
from clipserve_models.triton_towers import towers
from tests.models.asking import ask

ROOT = Path(__file__).parents[2]
MANIFEST = read_manifest(DEMO)
TYPES = {"tensor(uint8)": pb.TYPE_UINT8, "tensor(int32)": pb.TYPE_INT32, "tensor(float)": pb.TYPE_FP32}
TOWERS = {"demo_image": "image.onnx", "demo_text": "text.onnx"}
BACKENDS: list[tuple[BackendName, Device]] = [
    ("onnxruntime", "cpu"),
    ("onnxruntime", "gpu"),
    ("tensorrt", "gpu"),
]


def artifact(folder: Path, backend: BackendName) -> Path:
    """The demo model, with something in the place of plans that only a GPU can make."""
    if backend != "tensorrt":
        return DEMO
    shutil.copytree(DEMO, folder)
    for plan in PLANS.values():
        (folder / plan).write_bytes(plan.encode())
    (folder / KEY_NAME).write_text(f"artifact {MANIFEST.fingerprint()}\n")
    return folder


def read(repository: Path, model: str) -> pb.ModelConfig:
    """Parsing refuses a field that ModelConfig does not have."""
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), pb.ModelConfig())


@pytest.fixture(params=BACKENDS, ids=" on ".join)
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    out, (backend, device) = tmp_path / "out", request.param
    folder = artifact(tmp_path / "artifact", backend)
    assert write_repository(folder, out, options_of(backend, device)) == list(TOWERS)
    return out


def on_cpu(config: pb.ModelConfig) -> bool:
    return bool(config.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU)


@pytest.mark.parametrize("model", TOWERS)
def test_the_configuration_has_the_graphs_inputs_and_outputs(repository: Path, model: str) -> None:
    config = read(repository, model)
    graph = ort.InferenceSession(DEMO / TOWERS[model])
    assert [tensor.name for tensor in config.input] == [node.name for node in graph.get_inputs()]
    assert [tensor.name for tensor in config.output] == [node.name for node in graph.get_outputs()]
    for tensor, node in zip(
        [*config.input, *config.output], [*graph.get_inputs(), *graph.get_outputs()], strict=True
    ):
        assert tensor.data_type == TYPES[node.type]
        reshaped = tensor.HasField("reshape")
        dims = list(tensor.reshape.shape if reshaped else tensor.dims)
        assert ["N", *dims] == [-1 if size == "L" else size for size in node.shape], node.name
        assert tensor.dims, "Triton wants a dimension besides the batch"


@pytest.mark.parametrize("model", TOWERS)
def test_names_batching_and_fingerprint(repository: Path, model: str) -> None:
    config = read(repository, model)
    options = DEFAULTS["cpu" if on_cpu(config) else "gpu"]
    policy = options.image if model == "demo_image" else options.text
    assert config.name == model, "must be the folder's name"
    assert config.max_batch_size == policy.max_batch_size
    assert not config.dynamic_batching.preferred_batch_size
    queue = config.dynamic_batching.default_queue_policy
    assert queue.timeout_action == pb.ModelQueuePolicy.REJECT
    assert queue.default_timeout_microseconds == 10_000_000
    assert queue.allow_timeout_override
    assert 0 < queue.max_queue_size <= 1024
    (group,) = config.instance_group
    assert group.count == policy.concurrency
    assert group.kind in (pb.ModelInstanceGroup.KIND_CPU, pb.ModelInstanceGroup.KIND_GPU)
    several = config.backend == "tensorrt" and model == "demo_text"
    assert list(group.profile) == (["0", "1", "2"] if several else []), (
        "Triton uses the first, unless they are named"
    )
    assert config.version_policy.latest.num_versions == 1
    assert config.parameters["fingerprint"].string_value == MANIFEST.fingerprint()


@pytest.mark.parametrize("model", TOWERS)
def test_the_files_are_those_that_the_configuration_names(repository: Path, model: str) -> None:
    config = read(repository, model)
    version = repository / model / "1"
    assert (version / config.default_model_filename).is_file()
    if config.backend == "tensorrt":
        assert (version / "model.plan").read_bytes() == PLANS[TOWERS[model]].encode()
    else:
        assert (version / "model.onnx").read_bytes() == (DEMO / TOWERS[model]).read_bytes()


def test_every_shape_that_will_be_met_is_warmed_up_alone_and_in_a_full_batch(repository: Path) -> None:
    for model, graph in TOWERS.items():
        config = read(repository, model)
        first = config.input[0].name
        shapes = {(s.batch_size, *s.inputs[first].dims) for s in config.model_warmup}
        lengths = (8, 10, 12, 16, 24, 32, 48, 77) if on_cpu(config) else (16, 32, 77)
        each = [(256, 256, 3)] if model == "demo_image" else [(n,) for n in lengths]
        assert shapes == {(rows, *dims) for rows in (1, config.max_batch_size) for dims in each}
        session = ort.InferenceSession(DEMO / graph)
        for sample in config.model_warmup:
            feeds = {
                name: warm_up_rows(repository / model, content) for name, content in sample.inputs.items()
            }
            if model == "demo_text":
                assert feeds["lengths"].tolist() == [[feeds["token_ids"].shape[1]]]
                feeds["lengths"] = feeds["lengths"][:, 0]
            assert np.isfinite(session.run(None, feeds)[0]).all()


def warm_up_rows(model: Path, content: Any) -> Any:
    """One row of an input, as Triton makes it."""
    kind = {pb.TYPE_UINT8: np.uint8, pb.TYPE_INT32: np.int32}[content.data_type]
    if content.WhichOneof("input_data_type") == "zero_data":
        return np.zeros((1, *content.dims), kind)
    return np.fromfile(model / "warmup" / content.input_data_file, kind).reshape(1, *content.dims)


def test_the_policies_reach_the_configuration(tmp_path: Path) -> None:
    options = RepositoryOptions(
        "onnxruntime",
        "cpu",
        BatchPolicy(4, 0.002, 3),
        BatchPolicy(16),
        threads=2,
        queue_timeout=0.5,
        max_queue_size=7,
    )
    write_repository(DEMO, tmp_path, options)
    image, text = read(tmp_path, "demo_image"), read(tmp_path, "demo_text")
    assert (image.max_batch_size, text.max_batch_size) == (4, 16)
    assert image.dynamic_batching.max_queue_delay_microseconds == 2000
    assert text.dynamic_batching.max_queue_delay_microseconds == 0
    assert image.dynamic_batching.default_queue_policy.default_timeout_microseconds == 500_000
    assert image.dynamic_batching.default_queue_policy.max_queue_size == 7
    assert [group.count for group in image.instance_group] == [3]
    assert image.parameters["intra_op_thread_count"].string_value == "2"
    assert image.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU


def test_onnxruntime_on_a_gpu_is_told_where_it_reads_it(tmp_path: Path) -> None:
    write_repository(DEMO, tmp_path, DEFAULTS["gpu"])
    for name in TOWERS:
        model = read(tmp_path, name)
        told = {key: value.string_value for key, value in model.parameters.items()}
        assert told.pop("fingerprint") == MANIFEST.fingerprint()
        assert told.pop("precision") == "fp32"
        assert told.pop("text_lengths", "") == ("16,32,77" if name == "demo_text" else "")
        assert told == {
            "cudnn_conv_algo_search": "1",
            "arena_extend_strategy": "1",
            "enable_mem_pattern": "0",
            "intra_op_thread_count": "1",
        }
        (cuda,) = model.optimization.execution_accelerators.gpu_execution_accelerator
        assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0"})
    write_repository(DEMO, tmp_path, DEFAULTS["cpu"])
    assert not read(tmp_path, "demo_image").HasField("optimization")


def test_a_text_encoder_that_pads_to_one_length_takes_that_length_only() -> None:
    fixed = MANIFEST.model_copy(update={"text": TextSpec(context_length=64, padding="fixed")})
    assert fixed.text.lengths == [64]
    _, text = towers(fixed, DEFAULTS["cpu"])
    assert text.inputs[0].dims == (64,)


def test_names_are_made_safe() -> None:
    named = MANIFEST.model_copy(update={"name": "ViT-B.32_x@fp16"})
    assert triton_model(named, "image") == "ViT-B.32_x-fp16_image"


def test_the_writer_replaces_its_own_models_and_nothing_else(tmp_path: Path) -> None:
    write_repository(DEMO, tmp_path, DEFAULTS["cpu"])
    (tmp_path / "other").mkdir()
    (tmp_path / "demo_image" / "1" / "model.py").touch()
    write_repository(DEMO, tmp_path, DEFAULTS["gpu"])
    assert {path.name for path in tmp_path.iterdir()} == {*TOWERS, "other"}
    assert not (tmp_path / "demo_image" / "1" / "model.py").exists()
    (tmp_path / "demo_image" / "config.pbtxt").unlink()
    with pytest.raises(ModelsError, match="is not a model"):
        write_repository(DEMO, tmp_path, DEFAULTS["cpu"])


def ending_at(last: int, do: Any, steps: Iterator[int]) -> Any:
    """`do`, but for the last of these steps, at which the process ends."""

    def step(*args: Any, **options: Any) -> Any:
        if next(steps) == last:
            raise KeyboardInterrupt
        return do(*args, **options)

    return step


@pytest.mark.parametrize("former", [False, True])
def test_what_is_left_by_a_process_that_ended_at_any_step_is_replaced(
    former: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each finds what the one before has left, and comes one step further."""
    if former:
        write_repository(DEMO, tmp_path, DEFAULTS["cpu"])
    for last in itertools.count(1):
        steps = itertools.count(1)
        with monkeypatch.context() as patched:
            for name in ("mkdir", "link", "unlink", "rmdir"):
                patched.setattr(os, name, ending_at(last, getattr(os, name), steps))
            try:
                write_repository(DEMO, tmp_path, DEFAULTS["gpu"])
                break
            except KeyboardInterrupt:
                pass
    assert last > 5
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == sorted(["config.pbtxt", "model.onnx"] * 2)


def test_weights_beside_a_large_graph_come_along_under_their_name(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "artifact")
    (tmp_path / "artifact" / "text.onnx.data").write_bytes(b"weights")
    write_repository(tmp_path / "artifact", tmp_path / "out", DEFAULTS["gpu"])
    written = tmp_path / "out" / "demo_text" / "1" / "text.onnx.data"
    assert written.read_bytes() == b"weights"
    assert written.stat().st_nlink == 1, "onnx refuses weights that have several hard links"
    assert os.listdir(tmp_path / "out" / "demo_image" / "1") == ["model.onnx"]


def test_an_altered_artifact_is_refused(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "artifact")
    (tmp_path / "artifact" / "text.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"text\.onnx"):
        write_repository(tmp_path / "artifact", tmp_path / "out", DEFAULTS["cpu"])
    assert not (tmp_path / "out").exists()


def test_a_backend_is_not_asked_to_run_where_it_cannot() -> None:
    assert options_of("onnxruntime", "cpu").device == "cpu"
    with pytest.raises(ModelsError, match="on the gpu only"):
        options_of("tensorrt", "cpu")


def test_a_context_below_those_lengths_is_a_length_too() -> None:
    for context, lengths in [(64, [16, 32, 64]), (32, [16, 32]), (20, [16, 20]), (12, [12])]:
        small = MANIFEST.model_copy(update={"text": TextSpec(context_length=context)})
        _, text = towers(small, DEFAULTS["gpu"])
        assert [length for (length,), _ in text.shapes] == lengths


def test_the_command_writes_a_repository(tmp_path: Path) -> None:
    result = ask("triton", str(DEMO), "--out", str(tmp_path), "--device", "cpu", "--max-batch-texts", "5")
    assert result.returncode == 0, result.stderr
    assert read(tmp_path, "demo_text").max_batch_size == 5
    assert result.stderr == ""


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = ask("triton", str(DEMO), "--out", str(tmp_path / "file" / "out"))
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"error: [Errno 20] Not a directory: '{tmp_path}/file/out/demo_image'"
    ]


def test_fp32_on_a_gpu_is_written_with_a_warning_of_what_it_costs(tmp_path: Path) -> None:
    result = ask("triton", str(DEMO), "--out", str(tmp_path))
    assert (result.returncode, "fp16 variant" in result.stderr) == (0, True)


def test_without_plans_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    result = ask("triton", str(DEMO), "--out", str(tmp_path), "--backend", "tensorrt")
    assert result.returncode == 1
    assert "image.plan is not there" in result.stderr
    assert len(result.stderr.splitlines()) == 1
