"""Asks NVIDIA's driver, in this process, which GPUs it has and which CUDA it runs."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "cuda"]  # where encoders in this process are to run

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """A GPU. `capability`: its compute capability; (9, 0) is Hopper."""

    name: str
    memory_bytes: int
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name}, {self.memory_bytes / 2**30:.0f} GiB"


@dataclass(frozen=True)
class Driver:
    """What the driver and /dev say about GPUs, without onnxruntime.

    Attributes:
        gpus: in the driver's order; encoders run on the first. CUDA_VISIBLE_DEVICES selects them.
        devices: the device files of GPUs, which may exist without the driver's library.
        newest_cuda: the newest CUDA that the driver runs; None: there is no driver.
        fault: why the driver gives no GPU; None: it gives one.
    """

    gpus: tuple[Gpu, ...] = ()
    devices: tuple[str, ...] = ()
    newest_cuda: tuple[int, int] | None = None
    fault: str | None = None

    @property
    def present(self) -> bool:
        """Whether there is a GPU, usable or not."""
        return bool(self.gpus or self.devices)

    def __str__(self) -> str:
        return "; ".join(map(str, self.gpus)) or ", ".join(self.devices) or "no GPU"


class _Refused(Exception):
    """A function of the driver gave an error."""


def ask_driver(dev: Path = Path("/dev"), library: str = "libcuda.so.1") -> Driver:
    """Ask the driver. It allocates nothing on a GPU. Without a driver it takes microseconds.

    `dev`: the folder of device files. `library`: the driver's name for the dynamic linker.
    """
    devices = tuple(sorted(each.name for each in dev.glob("nvidia[0-9]*")))
    try:
        cuda = ctypes.CDLL(library)
    except OSError as error:
        return Driver(devices=devices, fault=str(error))
    version = ctypes.c_int()
    try:
        _call(cuda, "cuDriverGetVersion", ctypes.byref(version))
        newest = (version.value // 1000, version.value % 1000 // 10)
    except _Refused as error:
        return Driver(devices=devices, fault=str(error))
    try:
        _call(cuda, "cuInit", 0)
        return Driver(_gpus(cuda), devices, newest)
    except _Refused as error:
        return Driver(devices=devices, newest_cuda=newest, fault=str(error) + _hidden())


def _gpus(cuda: ctypes.CDLL) -> tuple[Gpu, ...]:
    count = ctypes.c_int()
    _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if not count.value:
        raise _Refused("cuDeviceGetCount counts none")
    return tuple(_gpu(cuda, number) for number in range(count.value))


def _gpu(cuda: ctypes.CDLL, number: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    _call(cuda, "cuDeviceGet", ctypes.byref(device), number)
    _call(cuda, "cuDeviceGetName", name, _NAME_BYTES, device)
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    return Gpu(name.value.decode(errors="replace"), memory.value, (major.value, minor.value))


def _call(cuda: ctypes.CDLL, function: str, *arguments: object) -> None:
    try:
        status = getattr(cuda, function)(*arguments)
    except AttributeError:
        raise _Refused(f"it has no {function}") from None
    if status:
        raise _Refused(f"{function} gives error {status}{_named(cuda, status)}")


def _named(cuda: ctypes.CDLL, status: int) -> str:
    """The driver's name of an error, such as CUDA_ERROR_NO_DEVICE."""
    name = ctypes.c_char_p()
    try:
        known = cuda.cuGetErrorName(status, ctypes.byref(name)) == 0
    except AttributeError:
        return ""
    return f", {name.value.decode(errors='replace')}" if known and name.value else ""


def _hidden() -> str:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if chosen is None else f" (CUDA_VISIBLE_DEVICES={chosen})"
