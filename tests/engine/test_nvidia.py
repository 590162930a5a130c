"""What NVIDIA's driver is asked, and what its answers mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.engine.nvidia import Gpu, ask_driver
from tests.engine.libcuda import dev, libcuda

H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * 2**30, (9, 0))


def test_gpus_are_told_with_name_memory_and_capability(tmp_path: Path) -> None:
    driver = ask_driver(dev(tmp_path, 2), libcuda(tmp_path, gpus=2))
    assert driver.gpus == (H100, Gpu("NVIDIA T4", 16 * 2**30, (9, 0)))
    assert (driver.devices, driver.newest_cuda, driver.fault) == (("nvidia0", "nvidia1"), (13, 0), None)
    assert str(driver) == "NVIDIA H100 80GB HBM3, 80 GiB; NVIDIA T4, 16 GiB"


def test_a_machine_without_a_driver_has_no_gpu(tmp_path: Path) -> None:
    driver = ask_driver(tmp_path, "libnone.so.1")
    assert (driver.present, str(driver)) == (False, "no GPU")
    assert "libnone.so.1" in str(driver.fault)


def test_a_device_without_the_library_is_a_gpu_that_is_there(tmp_path: Path) -> None:
    driver = ask_driver(dev(tmp_path), "libnone.so.1")
    assert (driver.present, str(driver), driver.gpus) == (True, "nvidia0", ())


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (100, "cuInit gives error 100, CUDA_ERROR_NO_DEVICE"),
        (803, "cuInit gives error 803, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
    ],
)
def test_an_error_of_the_driver_has_its_name(
    tmp_path: Path, status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = libcuda(tmp_path, init=status, version=12_040)
    driver = ask_driver(dev(tmp_path), library)
    assert (driver.gpus, driver.newest_cuda, driver.fault) == ((), (12, 4), said)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert ask_driver(tmp_path, library).fault == (f"{said} (CUDA_VISIBLE_DEVICES=7)")


def test_an_error_of_an_old_driver_has_its_number(tmp_path: Path) -> None:
    library = libcuda(tmp_path, init=803, lacks="cuGetErrorName")
    assert ask_driver(dev(tmp_path), library).fault == "cuInit gives error 803"


def test_a_driver_that_counts_no_gpu_says_so(tmp_path: Path) -> None:
    assert ask_driver(tmp_path, libcuda(tmp_path, gpus=0)).fault == "cuDeviceGetCount counts none"


def test_a_library_that_is_not_a_driver_says_so(tmp_path: Path) -> None:
    driver = ask_driver(dev(tmp_path), "libc.so.6")
    assert driver.fault == "it has no cuDriverGetVersion"
