"""Why a GPU is or is not used, what is said of it, and how onnxruntime is told to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from clipserve.demo import FOLDER as DEMO
from clipserve.engine import cuda
from clipserve.engine.backends.onnx import OnnxEngine, providers, session_options
from clipserve.engine.cuda import PROVIDER
from clipserve.engine.in_process import EngineOptions
from clipserve.errors import BackendUnavailable
from tests.support.logs import Log

NO_CUDA = PROVIDER not in ort.get_available_providers()
NO_GPU, NO_PROVIDER = "no NVIDIA GPU is found", "this onnxruntime has no CUDA provider"


@pytest.mark.parametrize("name", ["nvidia0", "dxg"])
def test_a_gpu_is_a_device_of_the_driver(tmp_path: Path, name: str) -> None:
    for each in ("null", "nvidiactl"):
        (tmp_path / each).touch()
    assert cuda.gpus(tmp_path) == ""
    (tmp_path / name).touch()
    assert cuda.gpus(tmp_path) == name


@pytest.mark.parametrize(
    ("gpus", "provider", "reason"),
    [
        pytest.param("", True, NO_GPU, id="no device"),
        pytest.param("nvidia0", False, NO_PROVIDER, id="an onnxruntime for CPUs"),
        pytest.param("nvidia0", True, None, id="both"),
    ],
)
def test_a_gpu_is_used_where_there_is_one_and_an_onnxruntime_for_it(
    gpus: str, provider: bool, reason: str | None, monkeypatch: pytest.MonkeyPatch, written: Log
) -> None:
    monkeypatch.setattr(cuda, "gpus", lambda: gpus)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [PROVIDER] if provider else [])
    assert [cuda.chosen("cpu"), cuda.chosen("auto")] == [False, reason is None]
    lines = [line for line in written.lines if line["event"] == "gpu_not_used"]
    assert [line["gpu"] for line in lines] == ([gpus] if gpus and reason else [])
    if reason is None:
        assert cuda.chosen("cuda")
        return
    with pytest.raises(BackendUnavailable, match=f"device=cuda, but {reason}"):
        cuda.chosen("cuda")


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
def test_an_engine_for_cuda_never_falls_back_to_the_cpu_and_says_what_is_missing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("libcudnn.so.9 is missing"), raising=False)
    engine = OnnxEngine(DEMO, EngineOptions(cuda=True))
    assert engine.name == "onnxruntime-cuda"
    with (
        pytest.warns(UserWarning, match="not in available"),
        pytest.raises(BackendUnavailable, match=r"on CUDA\. libcudnn.* driver 580 .*CLIPSERVE_DEVICE=cpu"),
    ):
        engine.load()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fails", [False, True])
def test_an_engine_is_lost_where_one_text_fails(fails: bool) -> None:
    engine: Any = OnnxEngine(DEMO, EngineOptions()).load()
    if fails:
        engine._sessions["text.onnx"] = engine._sessions["image.onnx"]
    assert bool(engine.lost()) is fails
    engine.close()
    assert engine.lost() is None, "nobody needs it"
