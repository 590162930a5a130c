"""TensorRT plans where clipserve is not installed: a script for NVIDIA's image, and the record of what it built.

`plans.sh` lies in the artifact's folder and needs a shell, trtexec and nvidia-smi. What it has built it builds
again only if the script, the kind of GPU or the version of TensorRT is another one.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from models.errors import ModelsError
from models.plans import PLANS, PlansRecord, write_record
from models.tensorrt import profile, refuse_fp16, trtexec_command, trtexec_version
from models.triton_config import RepositoryOptions, towers
from service.clip.artifact import read_manifest, verify_files

SCRIPT_NAME, LOG_NAME = "plans.sh", "plans.log"
_SCRIPT = """\
#!/bin/sh
# Builds the TensorRT plans of {fingerprint} for the GPU of this machine.
# Written by `clipserve models plan-lines`; `clipserve models record-plans` comes after it.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/opt/tensorrt/bin:/usr/src/tensorrt/bin
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
tensorrt=$(trtexec --help 2>&1 | sed -n 's/.*\\[TensorRT v\\([0-9]*\\)\\].*/\\1/p' | head -n 1)
key="$(cksum <{script}) $gpu, TensorRT $tensorrt"
if [ -f image.plan ] && [ -f text.plan ] && [ "$(cat plans.key 2>/dev/null)" = "$key" ]; then
  echo "the plans are there, built for $gpu with TensorRT $tensorrt"
  exit 0
fi
rm -f plans.key plans.json
build() {{
  echo "building for $gpu, minutes: $*"
  "$@" >{log} 2>&1 || {{
    tail -n 20 {log} >&2
    exit 1
  }}
}}
{lines}
echo "$key" >plans.key
"""


def write_lines(folder: Path, options: RepositoryOptions, *, fp16: bool) -> Path:
    """Write plans.sh into the artifact.

    Returns:
        its path.

    Raises:
        ArtifactError: `folder` is not a sound artifact.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    commands = (
        trtexec_command("trtexec", Path(tower.graph), Path(PLANS[tower.graph]), profile(tower), fp16)
        for tower in towers(manifest, options)
    )
    lines = "\n".join(f"build {shlex.join(command)}" for command in commands)
    path = folder / SCRIPT_NAME
    text = _SCRIPT.format(fingerprint=manifest.fingerprint(), script=SCRIPT_NAME, log=LOG_NAME, lines=lines)
    path.write_text(text, "utf-8")
    return path


def record(folder: Path, *, fp16: bool) -> PlansRecord:
    """Write plans.json beside the plans that plans.sh has built. `fp16`: as it was told to `write_lines`.

    Raises:
        ArtifactError: `folder` is not a sound artifact.
        ModelsError: plans.sh has not run to its end, or TensorRT's version has no fp16 mode.
    """
    manifest = read_manifest(folder)
    missing = [name for name in (*PLANS.values(), LOG_NAME, "plans.key") if not (folder / name).is_file()]
    if missing:
        raise ModelsError(
            f"{folder} has no {missing[0]}: run its {SCRIPT_NAME} to the end first, on the GPU that will serve."
        )
    version = trtexec_version((folder / LOG_NAME).read_text("utf-8", errors="replace"))
    if fp16 and version:
        refuse_fp16(version)
    return write_record(folder, manifest, "fp16" if fp16 else manifest.precision, version)
