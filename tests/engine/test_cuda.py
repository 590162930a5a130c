"""Why a GPU is or is not used, what is said of it, and how onnxruntime is told to use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from clipserve.demo import FOLDER as DEMO
from clipserve.engine import cuda
from clipserve.engine.backends.onnx import OnnxEngine, providers, session_options
from clipserve.engine.cuda import PROVIDER, Accelerator, CudaFacts, look, tried, why_not
from clipserve.engine.in_process import EngineOptions
from clipserve.engine.nvidia import Driver, Gpu
from clipserve.errors import BackendUnavailable
from tests.engine.libcuda import dev, libcuda
from tests.logs import Log

H100 = Gpu("NVIDIA H100", 80 * 2**30, (9, 0))
WORKS = CudaFacts(Driver((H100,), ("nvidia0",), (13, 0)), provider=True, built_for="13.0")
V100 = replace(WORKS.driver, gpus=(Gpu("NVIDIA V100", 2**34, (7, 0)),))
NO_CUDA = PROVIDER not in ort.get_available_providers()

REASONS = {
    "no NVIDIA GPU is found": CudaFacts(Driver(fault="libcuda.so.1: not there"), provider=True),
    "this onnxruntime has no CUDA provider": replace(WORKS, provider=False, built_for=""),
    "the driver gives no GPU: cuInit gives error 803": replace(
        WORKS, driver=Driver(devices=("nvidia0",), fault="cuInit gives error 803")
    ),
    "the driver runs CUDA up to 12.4, and this onnxruntime is built for 13.0": replace(
        WORKS, driver=replace(WORKS.driver, newest_cuda=(12, 4))
    ),
    "NVIDIA V100 has compute capability 7.0, and CUDA 13 needs 7.5": replace(WORKS, driver=V100),
    "libraries of CUDA do not load: libcublas.so.13: not there; libcudnn.so.9: not there": replace(
        WORKS, missing=("libcublas.so.13: not there", "libcudnn.so.9: not there")
    ),
    "a small graph does not run on it: out of memory": replace(WORKS, trial="out of memory"),
}


@pytest.mark.parametrize(("found", "facts"), REASONS.items(), ids=list(REASONS))
def test_each_reason_is_said_with_what_to_do(found: str, facts: CudaFacts) -> None:
    reason = why_not(facts)
    assert reason is not None
    assert reason.found == found
    assert reason.do


def test_nothing_speaks_against_a_gpu_that_works() -> None:
    assert why_not(WORKS) is None
    assert why_not(replace(WORKS, built_for="", driver=V100)) is None, "not known is not against it"
    assert why_not(replace(WORKS, built_for="12.8", driver=V100)) is None


def test_what_to_do_names_the_packages_and_the_driver() -> None:
    def told(found: str) -> str:
        return str(getattr(why_not(REASONS[found]), "do", ""))

    assert "clipserve-gpu" in told("this onnxruntime has no CUDA provider")
    assert "580 or later" in told("the driver runs CUDA up to 12.4, and this onnxruntime is built for 13.0")
    assert "NVIDIA_DRIVER_CAPABILITIES" in told("the driver gives no GPU: cuInit gives error 803")


@pytest.mark.skipif(not NO_CUDA, reason="this onnxruntime is for GPUs")
def test_a_gpu_beside_an_onnxruntime_for_cpus_is_seen(tmp_path: Path) -> None:
    facts = look(dev(tmp_path), libcuda(tmp_path))
    assert facts.driver.gpus[0].name == "NVIDIA H100 80GB HBM3"
    reason = why_not(tried(facts))
    assert reason is not None
    assert reason.found == "this onnxruntime has no CUDA provider"


def seeing(facts: CudaFacts) -> Callable[[], CudaFacts]:
    return lambda: facts


def test_auto_warns_once_of_a_gpu_that_it_cannot_use(written: Log) -> None:
    facts = REASONS["this onnxruntime has no CUDA provider"]
    accelerator = Accelerator(seeing(facts))
    assert [accelerator.chosen("auto"), accelerator.chosen("auto")] == [False, False]
    (line,) = written.lines
    assert (line["event"], line["level"], line["gpu"]) == ("gpu_not_used", "warning", "NVIDIA H100, 80 GiB")
    assert line["reason"] == "this onnxruntime has no CUDA provider"
    assert "clipserve-gpu; or set CLIPSERVE_DEVICE=cpu" in line["do"]


def test_auto_says_nothing_where_there_is_no_gpu(written: Log) -> None:
    assert not Accelerator(seeing(CudaFacts())).chosen("auto")
    assert written.getvalue() == ""


def test_cpu_does_not_even_look() -> None:
    def looked() -> CudaFacts:
        raise AssertionError

    assert not Accelerator(looked).chosen("cpu")


def test_a_gpu_that_works_is_taken_after_one_look(written: Log) -> None:
    looks = iter([WORKS])
    accelerator = Accelerator(lambda: next(looks))
    assert [accelerator.chosen("auto"), accelerator.chosen("cuda"), accelerator.unused] == [True, True, None]
    assert written.getvalue() == ""


@pytest.mark.parametrize("facts", REASONS.values(), ids=list(REASONS))
def test_cuda_refuses_with_the_same_reason(facts: CudaFacts) -> None:
    reason = why_not(facts)
    assert reason is not None
    with pytest.raises(BackendUnavailable) as refused:
        Accelerator(seeing(facts)).chosen("cuda")
    assert str(refused.value).startswith(f"device=cuda, but {reason.found}: {reason.do}")


def test_cuda_computes_in_the_whole_of_fp32_and_is_used_only_where_it_is_asked_for() -> None:
    assert cuda.PROVIDER_OPTIONS["use_tf32"] == "0"
    cpu = "CPUExecutionProvider"
    assert providers(EngineOptions(cuda=True)) == [(PROVIDER, cuda.PROVIDER_OPTIONS), cpu]
    assert providers(EngineOptions()) == [cpu]


def test_a_session_on_a_gpu_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipserve.engine.backends.onnx.cpu_quota", lambda: None)
    monkeypatch.setattr("clipserve.engine.backends.onnx.usable_cores", lambda: 1)
    spinning = "session.intra_op.allow_spinning"
    on_gpu, on_cpu = (session_options(EngineOptions(cuda, threads=1)) for cuda in (True, False))
    assert (on_gpu.get_session_config_entry(spinning), on_cpu.get_session_config_entry(spinning)) == (
        "0",
        "1",
    )
    assert (on_gpu.intra_op_num_threads, on_gpu.enable_mem_pattern) == (1, False)


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
