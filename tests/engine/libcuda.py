"""A driver library of NVIDIA's functions that this machine's compiler makes: GPUs as a test wants them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = """
#include <stddef.h>
#include <string.h>
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = GPUS; return 0; }
int cuDeviceGet(int *device, int number) { *device = 40 + number; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, device == 40 ? "NVIDIA H100 80GB HBM3" : "NVIDIA T4", length); return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = device == 40 ? 85899345920 : 17179869184; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? CAPABILITY / 10 : CAPABILITY % 10; return 0;
}
int cuGetErrorName(int error, const char **name) {
    *name = error == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"; return 0;
}
"""


def libcuda(
    folder: Path,
    *,
    version: int = 13_000,
    init: int = 0,
    gpus: int = 1,
    capability: int = 90,
    lacks: str = "nothing",
) -> str:
    """A file to give in place of libcuda.so.1.

    `version`: 13000 is CUDA 13.0; `init`: what cuInit gives; `lacks`: a function that it does not have.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("it needs a C compiler")
    defined = {"VERSION": version, "INIT": init, "GPUS": gpus, "CAPABILITY": capability}
    source, library = folder / "libcuda.c", folder / f"libcuda-{len(list(folder.iterdir()))}.so"
    source.write_text(_SOURCE.replace(lacks, "nothing"))
    options = [f"-D{name}={value}" for name, value in defined.items()]
    subprocess.run([compiler, "-shared", "-fPIC", *options, "-o", library, source], check=True)
    return str(library)


def dev(folder: Path, gpus: int = 1) -> Path:
    """A folder to give in place of /dev."""
    made = folder / "dev"
    made.mkdir()
    for name in ("null", "nvidiactl", *(f"nvidia{number}" for number in range(gpus))):
        (made / name).touch()
    return made
