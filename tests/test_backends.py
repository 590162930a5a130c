"""Which backend the settings give, on a GPU and without."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.backends import BACKENDS
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.cuda import Accelerator, Reason
from clipserve.errors import BackendUnavailable
from clipserve.settings import ModelSettings, Settings
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.backends import image_policy, open_engine, tokenizer_of, uses_gpu
from clipserve.wiring.use_cases import open_use_cases
from tests.engine import test_backend as contract

WITH_GPU = Accelerator(lambda: None)
WITHOUT = Accelerator(lambda: Reason("no NVIDIA GPU is found", "give it one"))


def test_every_backend_can_be_asked_for_and_held_to_the_contract_of_backends() -> None:
    held = Path(__file__).parent / "external"  # by a test on its own servers
    for name, kind in BACKENDS.items():
        assert ModelSettings(backend=name).backend_kind is kind
        assert f"`{name}`: {kind.meaning}" in str(ModelSettings.model_fields["backend"].description)
        assert (kind.open_engine is None) != (kind.connect is None), name
        is_held = name in contract.BACKENDS or (held / name / "test_contract.py").is_file()
        assert is_held, f"{name} has no row in BACKENDS of tests/engine/test_backend.py"


def nobody_looks() -> Reason:
    raise AssertionError


def engine(accelerator: Accelerator, **settings: str) -> str:
    chosen = ModelSettings.model_validate(settings)
    on_gpu = uses_gpu(chosen, accelerator)
    calls = chosen.calls(on_gpu=on_gpu)
    to_load = open_engine(Path(DEMO), read_manifest(DEMO), chosen, calls, on_gpu=on_gpu)
    return str(to_load.name)  # type: ignore[attr-defined] # not loaded, and not one of those on trial


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_a_gpu_that_works_is_used_with_its_sizes(backend: str) -> None:
    assert engine(WITH_GPU, backend=backend) == "onnxruntime-cuda"
    settings = ModelSettings.model_validate({"backend": backend})
    sizes = [settings.calls(on_gpu=uses_gpu(settings, each)).max_batch_images for each in (WITH_GPU, WITHOUT)]
    assert sizes == [64, 16]


def test_calls_of_images_are_bounded_by_time_where_no_size_is_set() -> None:
    bounded = image_policy(ModelSettings(), on_gpu=False)
    assert (bounded.max_batch_size, bounded.call_seconds) == (16, 0.25)
    assert image_policy(ModelSettings(max_batch_images=16), on_gpu=False) == BatchPolicy(16)
    on_gpu = image_policy(ModelSettings(), on_gpu=True)
    assert (on_gpu.max_batch_size, on_gpu.concurrency, on_gpu.call_seconds) == (64, 2, 0.25)
    # Until it has been measured; of an L4 with a large model, of which 64 take a second; of a fast GPU.
    assert [on_gpu.rows_of((), seconds) for seconds in (None, 1 / 64, 1e-4)] == [4, 16, 64]


def test_the_cpu_is_used_where_it_is_asked_for() -> None:
    assert engine(WITH_GPU, device="cpu", backend="onnx") == "onnxruntime"
    assert not uses_gpu(ModelSettings(device="cpu"), WITH_GPU)


def test_openvino_is_for_the_cpu() -> None:
    assert engine(WITH_GPU, backend="openvino") == "openvino"
    with pytest.raises(BackendUnavailable, match="backend=openvino, which runs on the CPU"):
        engine(WITH_GPU, backend="openvino", device="cuda")


async def test_where_the_cpu_is_asked_for_nobody_looks_for_a_gpu() -> None:
    own = {read_manifest(DEMO).name: ModelSettings(threads=2)}
    settings = Settings(
        models=(DEMO,), device="cpu", backend="onnx", decode_processes=False, model_settings=own
    )
    async with open_use_cases(settings, Metrics(), accelerator=Accelerator(nobody_looks)) as core:
        await core.start_models()
        (model,) = core.models.values()
        assert model.info.engine == "onnxruntime"


def test_a_tokenizer_is_read_once_while_it_is_in_use(tmp_path: Path) -> None:
    shutil.copy(DEMO / "tokenizer.json", tmp_path)
    manifest = read_manifest(DEMO)
    tokenizer = tokenizer_of(tmp_path, manifest)
    (tmp_path / "tokenizer.json").unlink()
    assert tokenizer_of(tmp_path, manifest) is tokenizer
    other = manifest.model_copy(update={"files": manifest.files | {"tokenizer.json": "another"}})
    with pytest.raises(ArtifactError, match=r"tokenizer\.json cannot be read"):
        tokenizer_of(tmp_path, other)
    del tokenizer
    with pytest.raises(ArtifactError, match=r"tokenizer\.json cannot be read"):
        tokenizer_of(tmp_path, manifest)


async def test_files_are_verified_while_the_models_are_opened(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DEMO, folder)
    with (folder / "text.onnx").open("ab") as file:
        file.write(b"\x00")
    settings = Settings(models=(folder,), device="cpu", backend="onnx", decode_processes=False)
    async with open_use_cases(settings, Metrics()) as core:
        assert isinstance(core.verified[folder].exception(), ArtifactError)
        with pytest.raises(ArtifactError, match=r"text\.onnx has SHA-256"):
            await core.start_models()


def test_in_front_of_triton_nobody_looks_for_a_gpu() -> None:
    assert not uses_gpu(ModelSettings(backend="triton", device="cuda"), Accelerator(nobody_looks))
