"""The Triton server that will serve plans: its GPU and its TensorRT, as far as they are known here.

They come from, in this order: the command's options; the file that `triton-facts.sh`, run in Triton's image, has
written into the artifact's folder; the GPU of this machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from clipserve_models.errors import ModelsError
from clipserve_models.plans import PlansRecord
from clipserve_models.trtexec import numbers

# Sets `gpu` in a shell. A slice of a GPU (MIG) has the name of the whole in its query, but plans of its own.
GPU_LINES = """\
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
slice=$(nvidia-smi -L | sed -n 's/^ *\\(MIG [^ ]*\\) .*/\\1/p' | head -n 1)
gpu="$gpu${slice:+ $slice}\""""
FACTS_NAME, FACTS_SCRIPT_NAME = "triton.facts", "triton-facts.sh"
FACTS_SCRIPT = f"""\
#!/bin/sh
# Writes {FACTS_NAME}: the GPU and the TensorRT of the Triton whose image this runs in.
# Written by `clipserve models plan-lines`; `clipserve models triton --backend tensorrt` compares the plans with it.
set -eu
cd "$(dirname "$0")"
{GPU_LINES}
tensorrt=${{TRT_VERSION:-}}
if [ -z "$tensorrt" ]; then
  library=$(find /usr/lib /usr/local /opt -name 'libnvinfer.so.*.*.*' 2>/dev/null | head -n 1)
  tensorrt=${{library##*libnvinfer.so.}}
fi
echo "Triton's image has TensorRT ${{tensorrt:-of unknown version}}; its GPU is $gpu"
printf 'gpu=%s\\ntensorrt=%s\\n' "$gpu" "$tensorrt" >{FACTS_NAME}
"""


@dataclass(frozen=True)
class TritonServer:
    """The known facts. `gpu`: as nvidia-smi names it, of a slice with its profile; `tensorrt`: its version."""

    gpu: str | None = None
    tensorrt: str | None = None

    def refuse(self, record: PlansRecord, folder: Path) -> None:
        """Raises ModelsError if it could not load the plans in `folder`."""
        again = f"build them again there: `clipserve models tensorrt {folder}`"
        if self.tensorrt and numbers(self.tensorrt) != numbers(record.tensorrt):
            raise ModelsError(
                f"the plans in {folder} were built with TensorRT {record.tensorrt}, but Triton's image has "
                f"{self.tensorrt}, which cannot read them. Take the TensorRT image whose TRT_VERSION is that one: "
                f"of the Triton image's month, or of the month before or after, and {again}."
            )
        if self.gpu and self.gpu != record.gpu:
            raise ModelsError(
                f"the plans in {folder} were built on {record.gpu}, but Triton's GPU is {self.gpu}: {again}. If "
                "Triton runs on another machine than this one, name its GPU with --gpu."
            )


def server_of(folder: Path, gpu: str | None = None, tensorrt: str | None = None) -> TritonServer:
    """The server for the artifact in `folder`; `gpu` and `tensorrt`: the command's options."""
    try:
        lines = (folder / FACTS_NAME).read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    return TritonServer(gpu or facts.get("gpu") or gpu_here(), tensorrt or facts.get("tensorrt"))


def gpu_here() -> str | None:
    """The first GPU of this machine as nvidia-smi names it, of a slice with its profile; None without one.

    For example `NVIDIA H100 80GB HBM3`, or `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
    """
    names = _nvidia_smi("--query-gpu=name", "--format=csv,noheader").strip().splitlines()
    slices = re.findall(r"^ *(MIG \S+) ", _nvidia_smi("-L"), re.MULTILINE)
    return " ".join([*names[:1], *slices[:1]]) if names else None


def _nvidia_smi(*arguments: str) -> str:
    """What it prints; nothing where it is not there, or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603  our own arguments
    return done.stdout if done.returncode == 0 else ""
