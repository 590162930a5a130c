"""The repositories that are written for Triton, read back as Triton reads them, against the real graphs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import onnxruntime as ort
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import TextSpec
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.triton_options import DEFAULTS, BackendName, Device, options_of
from clipserve_models.triton_plans import KEY_NAME, PLANS
from clipserve_models.triton_repository import write_repository
from clipserve_models.triton_towers import towers
from tests.models.asking import ask
from tests.support.process import demo_named

MANIFEST = read_manifest(DEMO)
TYPES = {"tensor(uint8)": pb.TYPE_UINT8, "tensor(int32)": pb.TYPE_INT32, "tensor(float)": pb.TYPE_FP32}
TOWERS = {"demo_image": "image.onnx", "demo_text": "text.onnx"}
BACKENDS: list[tuple[BackendName, Device]] = [
    ("onnxruntime", "cpu"),
    ("onnxruntime", "gpu"),
    ("tensorrt", "gpu"),
]


def read(repository: Path, model: str) -> pb.ModelConfig:
    """Parsing refuses a field that ModelConfig does not have."""
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), pb.ModelConfig())


def told(config: pb.ModelConfig) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The demo model where it can be changed, with something in the place of plans that only a GPU can make."""
    folder = Path(shutil.copytree(DEMO, tmp_path / "artifact", ignore=shutil.ignore_patterns("*.py", "*.md")))
    for plan in PLANS.values():
        (folder / plan).write_bytes(plan.encode())
    (folder / KEY_NAME).write_text(f"artifact {MANIFEST.fingerprint()}\n")
    return folder


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_a_model_has_what_its_graph_and_the_service_need(
    backend: BackendName, device: Device, own: Path, tmp_path: Path
) -> None:
    options = DEFAULTS[device]
    assert write_repository(own, tmp_path / "out", options_of(backend, device)) == list(TOWERS)
    for model, policy in zip(TOWERS, (options.image, options.text), strict=True):
        config = read(tmp_path / "out", model)
        assert (config.name, config.backend, config.max_batch_size) == (model, backend, policy.max_batch_size)
        check_tensors(config, DEMO / TOWERS[model])
        check_queue(config)
        (group,) = config.instance_group
        on_gpu = group.kind == pb.ModelInstanceGroup.KIND_GPU
        assert (on_gpu, group.count) == (device == "gpu", policy.instances)
        several = (
            backend == "tensorrt" and model == "demo_text"
        )  # Triton uses the first, unless all are named
        assert list(group.profile) == (["0", "1", "2"] if several else [])
        assert config.version_policy.latest.num_versions == 1
        assert told(config)["fingerprint"] == MANIFEST.fingerprint()
        served = tmp_path / "out" / model / "1" / config.default_model_filename
        plan, graph = PLANS[TOWERS[model]].encode(), (DEMO / TOWERS[model]).read_bytes()
        assert served.read_bytes() == (plan if backend == "tensorrt" else graph)
        check_warm_up(config)


def check_tensors(config: pb.ModelConfig, graph: Path) -> None:
    session = ort.InferenceSession(graph)
    for tensors, nodes in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        for tensor, node in zip(tensors, nodes, strict=True):
            assert (tensor.name, tensor.data_type) == (node.name, TYPES[node.type])
            dims = list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)
            assert ["N", *dims] == [-1 if size == "L" else size for size in node.shape], node.name
            assert tensor.dims, "Triton wants a dimension besides the batch"


def check_queue(config: pb.ModelConfig) -> None:
    assert not config.dynamic_batching.preferred_batch_size
    queue = config.dynamic_batching.default_queue_policy
    assert (queue.timeout_action, queue.allow_timeout_override) == (pb.ModelQueuePolicy.REJECT, True)
    assert queue.default_timeout_microseconds == 10_000_000
    assert 0 < queue.max_queue_size <= 1024


def check_warm_up(config: pb.ModelConfig) -> None:
    """Each shape that will be met, alone and in a full batch."""
    first = config.input[0].name
    shapes = {(s.batch_size, *s.inputs[first].dims) for s in config.model_warmup}
    each = [(256, 256, 3)] if first == "pixels" else [(n,) for n in (16, 32, 77)]
    assert shapes == {(rows, *dims) for rows in (1, config.max_batch_size) for dims in each}


def test_onnxruntime_on_a_gpu_is_told_where_it_reads_it(tmp_path: Path) -> None:
    write_repository(DEMO, tmp_path, DEFAULTS["gpu"])
    named = {"fingerprint": MANIFEST.fingerprint()}
    cuda = {"cudnn_conv_algo_search": "1", "arena_extend_strategy": "1"}
    model = read(tmp_path, "demo_text")
    assert told(model) == named | cuda | {"enable_mem_pattern": "0", "intra_op_thread_count": "1"}
    (accelerator,) = model.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("cuda", {"use_tf32": "0"})
    write_repository(DEMO, tmp_path, DEFAULTS["cpu"])
    assert not read(tmp_path, "demo_image").HasField("optimization")


@pytest.mark.parametrize(
    ("text", "device", "lengths"),
    [
        (TextSpec(context_length=64, padding="fixed"), "cpu", [64]),
        (TextSpec(context_length=64), "gpu", [16, 32, 64]),
        (TextSpec(context_length=12), "gpu", [12]),
    ],
)
def test_texts_have_the_lengths_that_the_model_takes(
    text: TextSpec, device: Device, lengths: list[int]
) -> None:
    _, tower = towers(MANIFEST.model_copy(update={"text": text}), DEFAULTS[device])
    assert [length for (length,), _ in tower.shapes] == lengths
    assert tower.inputs[0].dims == (tuple(lengths) if len(text.lengths) == 1 else (-1,))


def test_what_is_left_by_a_process_that_ended_is_replaced(tmp_path: Path) -> None:
    """Its configuration is there first, and goes last."""
    write_repository(DEMO, tmp_path, DEFAULTS["cpu"])
    shutil.rmtree(tmp_path / "demo_text" / "1")
    (tmp_path / "demo_text" / "left.tmp").touch()
    write_repository(DEMO, tmp_path, DEFAULTS["gpu"])
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == sorted(["config.pbtxt", "model.onnx"] * 2)


def test_weights_beside_a_large_graph_come_along_under_their_name(own: Path, tmp_path: Path) -> None:
    (own / "text.onnx.data").write_bytes(b"weights")
    write_repository(own, tmp_path / "out", DEFAULTS["gpu"])
    written = tmp_path / "out" / "demo_text" / "1" / "text.onnx.data"
    assert written.read_bytes() == b"weights"
    assert written.stat().st_nlink == 1, "onnx refuses weights that have several hard links"
    assert os.listdir(tmp_path / "out" / "demo_image" / "1") == ["model.onnx"]


def test_what_cannot_be_served_is_refused_before_anything_is_written(own: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match="on the gpu only"):
        options_of("tensorrt", "cpu")
    (own / "text.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"text\.onnx"):
        write_repository(own, tmp_path / "out", DEFAULTS["cpu"])
    assert not (tmp_path / "out").exists()


def write(out: Path, *artifacts: Path) -> str:
    done = ask("triton", *map(str, artifacts), "--device", "cpu", "--out", str(out), "--max-batch-texts", "5")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def models(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def test_models_of_another_artifact_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    other, out = demo_named("o@ther", tmp_path), tmp_path / "out"
    write(out, DEMO)
    assert read(out, "demo_text").max_batch_size == 5
    assert "demo_image and demo_text removed" in write(out, other)
    assert models(out) == ["o-ther_image", "o-ther_text"]
    assert "removed" not in write(out, DEMO, other)
    assert models(out) == ["demo_image", "demo_text", "o-ther_image", "o-ther_text"]
    theirs = ["a_file", "demo_image", "linked", "with_a_configuration", "without_one"]
    (out / "a_file").touch()
    (out / "demo_image" / "config.pbtxt").write_text('name: "demo_image"')
    shutil.move(out / "demo_text", tmp_path / "elsewhere")
    (out / "linked").symlink_to(tmp_path / "elsewhere")
    shutil.copytree(out / "demo_image", out / "with_a_configuration")
    (out / "without_one").mkdir()
    write(out, other)
    assert models(out) == sorted([*theirs, "o-ther_image", "o-ther_text"])
    (out / "o-ther_image" / "config.pbtxt").unlink()
    assert "is not a model" in ask("triton", str(other), "--device", "cpu", "--out", str(out)).stderr
    (other / "text.onnx").write_bytes(b"")
    assert ask("triton", str(other), "--out", str(out)).returncode == 1
    assert models(out) == sorted([*theirs, "o-ther_image", "o-ther_text"])


def test_fp32_on_a_gpu_is_written_with_a_warning_of_what_it_costs(tmp_path: Path) -> None:
    result = ask("triton", str(DEMO), "--out", str(tmp_path))
    assert (result.returncode, "fp16 variant" in result.stderr) == (0, True)
