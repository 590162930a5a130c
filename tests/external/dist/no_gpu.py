"""Libraries that stand in for NVIDIA's: enough of a GPU for onnxruntime's CUDA provider to choose its nodes."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

# What the provider asks before it runs anything; every other function gives 0, which is success. Memory of the GPU
# is that of the process. The first three arguments are a, b and c.
_ANSWERS = {
    "cudaGetDeviceCount": "*(int *)a = 1;",
    "cudaDriverGetVersion": "*(int *)a = 13000;",
    "cudaRuntimeGetVersion": "*(int *)a = 13000;",
    "cudaMemGetInfo": "*(long *)a = *(long *)b = 1L << 36;",
    "cudaGetErrorName": 'return (long)"none";',
    "cudaGetErrorString": 'return (long)"none";',
}
_ANSWERS |= dict.fromkeys(
    ("cudaMalloc", "cudaMallocHost", "cudaHostAlloc"), "*(void **)a = calloc(1, (long)b);"
)
_ANSWERS |= dict.fromkeys(("cudaMemcpy", "cudaMemcpyAsync"), "memcpy(a, b, (long)c);")
_ANSWERS |= dict.fromkeys(("cudaFree", "cudaFreeHost"), "free(a);")
_HANDLES = ("cublasCreate_v2", "cublasLtCreate", "cudaStreamCreateWithFlags")
_ANSWERS |= dict.fromkeys(_HANDLES, "*(void **)a = calloc(1, 64);")


def write_libraries(provider: Path, folder: Path) -> None:
    """Write into `folder` every library of NVIDIA's that the provider's file needs. Needs gcc and binutils."""
    needed = re.findall(r"NEEDED.*\[(libcu\S+)\]", _output("readelf", "-d", provider))
    functions: dict[str, list[str]] = defaultdict(list)
    for name, library in re.findall(r" U (_*cu\w+)(?:@(\S+))?", _output("nm", "-D", "-u", provider)):
        functions[library or "libcuda.so.1"].append(name)
    for library in needed:
        lines = ["#include <stdlib.h>", "#include <string.h>"]
        for name in functions[library]:
            lines.append(f"long {name}(void *a, void *b, void *c) {{ {_ANSWERS.get(name, '')} return 0; }}")
        (folder / "source.c").write_text("\n".join(lines))
        (folder / "versions").write_text(f"{library} {{ global: *; }};")
        options = [
            "-w",
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{library}",
            f"-Wl,--version-script={folder}/versions",
        ]
        subprocess.run(["gcc", *options, "-o", folder / library, folder / "source.c"], check=True)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
