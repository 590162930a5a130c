"""Which backend the settings give, on a GPU and without."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.tokenizer import tokenizer_of
from clipserve.demo import FOLDER as DEMO
from clipserve.engine import cuda
from clipserve.engine.backends import BACKENDS
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.errors import BackendUnavailable
from clipserve.settings import ModelSettings, Settings
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.backends import batched, in_process, uses_gpu
from clipserve.wiring.use_cases import open_use_cases
from loadtests.fake_backend import FakeBackend
from tests.engine import test_backend as contract


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that works."""
    monkeypatch.setattr(cuda, "why_not", lambda: None)


def test_every_backend_can_be_asked_for_and_held_to_the_contract_of_backends() -> None:
    held = Path(__file__).parent / "external"  # by a test on its own servers
    for name, kind in BACKENDS.items():
        assert ModelSettings(backend=name).backend_kind is kind
        assert f"`{name}`: {kind.meaning}" in str(ModelSettings.model_fields["backend"].description)
        assert (kind.open_engine is None) != (kind.connect is None), name
        is_held = name in contract.BACKENDS or (held / name / "test_contract.py").is_file()
        assert is_held, f"{name} has no row in BACKENDS of tests/engine/test_backend.py"


def engine(**settings: str) -> str:
    """The engine that these settings give, which is not loaded."""
    chosen = ModelSettings.model_validate(settings)
    on_gpu = uses_gpu(chosen)
    backend: Any = in_process(DEMO, read_manifest(DEMO), chosen, chosen.calls(on_gpu=on_gpu), on_gpu=on_gpu)
    return str(backend._to_load.name)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        pytest.param({"backend": "auto"}, "onnxruntime-cuda", id="auto"),
        pytest.param({"backend": "onnx"}, "onnxruntime-cuda", id="onnx"),
        pytest.param({"backend": "onnx", "device": "cpu"}, "onnxruntime", id="the CPU is asked for"),
        pytest.param({"backend": "openvino"}, "openvino", id="openvino is for the CPU"),
    ],
)
def test_a_gpu_that_works_is_used_unless_the_cpu_is_asked_for(
    settings: dict[str, str], name: str, gpu: None
) -> None:
    assert engine(**settings) == name


def test_openvino_on_cuda_is_refused(gpu: None) -> None:
    with pytest.raises(BackendUnavailable, match="backend=openvino, which runs on the CPU"):
        engine(backend="openvino", device="cuda")


def test_in_front_of_triton_nobody_looks_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "why_not", None)
    assert not uses_gpu(ModelSettings(backend="triton", device="cuda"))


def policy(*, on_gpu: bool = False, **settings: int) -> BatchPolicy:
    made: Any = batched(FakeBackend(8), ModelSettings.model_validate(settings), Metrics(), on_gpu=on_gpu)
    return made._image._policy  # type: ignore[no-any-return]


def test_calls_of_images_are_bounded_by_time_where_no_size_is_set() -> None:
    bounded, on_gpu = policy(), policy(on_gpu=True)
    assert (bounded.max_batch_size, bounded.call_seconds) == (16, 0.25)
    assert policy(max_batch_images=16).call_seconds == math.inf
    assert (on_gpu.max_batch_size, on_gpu.concurrency, on_gpu.call_seconds) == (64, 2, 0.25)
    # Until it has been measured; of an L4 with a large model, of which 64 take a second; of a fast GPU.
    assert [on_gpu.rows_of((), seconds) for seconds in (None, 1 / 64, 1e-4)] == [4, 16, 64]


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
