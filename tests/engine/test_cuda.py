"""Why a GPU is or is not used, what is said of it, and how onnxruntime is told to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from clipserve.demo import FOLDER as DEMO
from clipserve.engine import cuda
from clipserve.engine.backends.onnx import OnnxEngine, providers, session_options
from clipserve.engine.cuda import PROVIDER, Accelerator, Reason, why_not
from clipserve.engine.in_process import EngineOptions
from clipserve.errors import BackendUnavailable
from tests.logs import Log

NO_CUDA = PROVIDER not in ort.get_available_providers()
NO_GPU = Reason("no NVIDIA GPU is found", "give it one")
FAILS = Reason("a small graph does not run on it: out of memory", "run nvidia-smi", "nvidia0")


def with_device(folder: Path, name: str = "nvidia0") -> Path:
    """A folder to give in place of /dev."""
    for each in ("null", "nvidiactl", name):
        (folder / each).touch()
    return folder


@pytest.fixture
def with_provider(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An onnxruntime whose CUDA provider is there. Its `preload_dlls` prints what it does not find."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: [PROVIDER])
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("libcudnn.so.9 is missing"), raising=False)
    return monkeypatch


def test_without_a_device_there_is_no_gpu_and_onnxruntime_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", None)
    reason = why_not(tmp_path)
    assert reason is not None
    assert (reason.found, reason.gpu) == ("no NVIDIA GPU is found", "")
    assert "--gpus all" in reason.do


@pytest.mark.skipif(not NO_CUDA, reason="this onnxruntime is for GPUs")
@pytest.mark.parametrize("device", ["nvidia0", "dxg"])
def test_a_gpu_beside_an_onnxruntime_for_cpus_is_seen(tmp_path: Path, device: str) -> None:
    reason = why_not(with_device(tmp_path, device))
    assert reason is not None
    assert (reason.found, reason.gpu) == ("this onnxruntime has no CUDA provider", device)
    assert "clipserve-gpu" in reason.do


def test_a_graph_that_does_not_run_is_told_with_all_that_onnxruntime_says(
    tmp_path: Path, with_provider: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with_provider.setattr(cuda, "trial", lambda: "CUDA failure 35:\n  driver version is insufficient")
    reason = why_not(with_device(tmp_path))
    assert reason is not None
    words = "CUDA failure 35: driver version is insufficient libcudnn.so.9 is missing"
    assert reason.found == f"a small graph does not run on it: {words}"
    assert "driver 580" in reason.do
    assert capfd.readouterr().out == "", "past our log"


def test_a_gpu_on_which_the_graph_runs_is_used(tmp_path: Path, with_provider: Any) -> None:
    with_provider.setattr(cuda, "trial", lambda: None)
    assert why_not(with_device(tmp_path)) is None


def test_auto_warns_once_of_a_gpu_that_it_cannot_use(written: Log) -> None:
    accelerator = Accelerator(lambda: FAILS)
    assert [accelerator.chosen("auto"), accelerator.chosen("auto")] == [False, False]
    (line,) = written.lines
    assert (line["event"], line["level"], line["gpu"]) == ("gpu_not_used", "warning", "nvidia0")
    assert line["reason"] == FAILS.found
    assert "run nvidia-smi; or set CLIPSERVE_DEVICE=cpu" in line["do"]
    assert accelerator.unused is FAILS


def test_auto_says_nothing_where_there_is_no_gpu(written: Log) -> None:
    accelerator = Accelerator(lambda: NO_GPU)
    assert (accelerator.chosen("auto"), accelerator.unused) == (False, None)
    assert written.getvalue() == ""


def test_cpu_does_not_even_look() -> None:
    def looked() -> Reason:
        raise AssertionError

    assert not Accelerator(looked).chosen("cpu")


def test_a_gpu_that_works_is_taken_after_one_look(written: Log) -> None:
    looks = iter([None])
    accelerator = Accelerator(lambda: next(looks))
    assert [accelerator.chosen("auto"), accelerator.chosen("cuda"), accelerator.unused] == [True, True, None]
    assert written.getvalue() == ""


@pytest.mark.parametrize("reason", [NO_GPU, FAILS])
def test_cuda_refuses_with_the_reason(reason: Reason) -> None:
    with pytest.raises(BackendUnavailable) as refused:
        Accelerator(lambda: reason).chosen("cuda")
    assert str(refused.value).startswith(f"device=cuda, but {reason.found}: {reason.do}")


def test_cuda_computes_in_the_whole_of_fp32_and_is_used_only_where_it_is_asked_for() -> None:
    assert cuda.PROVIDER_OPTIONS["use_tf32"] == "0"
    cpu = "CPUExecutionProvider"
    assert providers(EngineOptions(cuda=True)) == [(PROVIDER, cuda.PROVIDER_OPTIONS), cpu]
    assert providers(EngineOptions()) == [cpu]


@pytest.mark.parametrize("on_gpu", [False, True])
def test_a_session_does_not_spin(on_gpu: bool) -> None:
    options = session_options(EngineOptions(on_gpu, threads=1))
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert (options.intra_op_num_threads, options.enable_mem_pattern) == (1, False)


@pytest.mark.skipif(not NO_CUDA, reason="this onnxruntime is for GPUs")
def test_an_engine_for_cuda_never_falls_back_to_the_cpu(capfd: pytest.CaptureFixture[str]) -> None:
    folder = DEMO
    engine = OnnxEngine(folder, EngineOptions(cuda=True))
    assert engine.name == "onnxruntime-cuda"
    with (
        pytest.warns(UserWarning, match="not in available"),
        pytest.raises(BackendUnavailable, match="on CUDA"),
    ):
        engine.load()
    assert capfd.readouterr() == ("", "")


def test_the_graph_of_the_trial_computes_a_convolution_and_a_product() -> None:
    session = ort.InferenceSession(cuda._TRIAL, None, ["CPUExecutionProvider"])
    x = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
    (y,) = session.run(None, {"x": x})
    kernel, matrix = (((np.arange(n) % 7 + 1) / 64).astype(np.float64) for n in (8 * 27, 128 * 4))
    padded = np.pad(x.transpose(0, 3, 1, 2).astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))  # [2, 3, 4, 4, 3, 3]
    features = np.einsum("ncyxij,kcij->nkyx", windows, kernel.reshape(8, 3, 3, 3))
    np.testing.assert_allclose(y, features.reshape(2, 128) @ matrix.reshape(128, 4), rtol=1e-5)
