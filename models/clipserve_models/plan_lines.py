"""Compiles the two graphs of an artifact to TensorRT plans with a script, and records what the script has built.

`plans.sh` in the artifact's folder needs a shell, trtexec and nvidia-smi, not clipserve, so it also runs in
NVIDIA's image. It builds plans again only if the script, the GPU model or the version of TensorRT has changed.
`triton-facts.sh` beside it is for Triton's image (`clipserve_models.triton_server`).
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from clipserve.clip.artifact import read_manifest, verify_files
from clipserve_models import trtexec
from clipserve_models.errors import ModelsError
from clipserve_models.plans import PLANS, PlansRecord, profiles, write_record
from clipserve_models.tensorrt_types import check_graph
from clipserve_models.triton_options import RepositoryOptions
from clipserve_models.triton_server import FACTS_SCRIPT, FACTS_SCRIPT_NAME, GPU_LINES, gpu_here
from clipserve_models.triton_towers import towers

SCRIPT_NAME, LOG_NAME, KEY_NAME = "plans.sh", "plans.log", "plans.key"
_SCRIPT = """\
#!/bin/sh
# Builds the TensorRT plans of {fingerprint} for the GPU of this machine.
# Written by `clipserve models plan-lines`; `clipserve models record-plans` comes after it.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/opt/tensorrt/bin:/usr/src/tensorrt/bin
{gpu}
tensorrt=$(trtexec --help 2>&1 | sed -n 's/.*\\[TensorRT v\\([0-9]*\\)\\].*/\\1/p' | head -n 1)
if [ "${{tensorrt:-0}}" -lt {first} ]; then
  echo "TensorRT ${{tensorrt:-of unknown version}} is older than {first}; plans need that or a newer one," >&2
  echo "which takes types from the graph. Use NVIDIA's TensorRT image of the same month as the Triton image." >&2
  exit 1
fi
key="script $(cksum <{script})
gpu $gpu
tensorrt $tensorrt"
if [ -f image.plan ] && [ -f text.plan ] && [ "$(cat {key} 2>/dev/null)" = "$key" ]; then
  echo "the plans are there, built for $gpu with TensorRT $tensorrt"
  exit 0
fi
# The plans too: a model repository may have them by a hard link, and they must not change there.
rm -f {key} plans.json image.plan text.plan
build() {{
  echo "building for $gpu, minutes: $*"
  "$@" >{log} 2>&1 || {{
    tail -n 20 {log} >&2
    exit 1
  }}
}}
{lines}
echo "$key" >{key}
"""


def write_lines(folder: Path, options: RepositoryOptions) -> Path:
    """Write plans.sh and triton-facts.sh into the artifact.

    Returns:
        the path of plans.sh.

    Raises:
        ArtifactError: `folder` is not a valid artifact.
        ModelsError: TensorRT could not read one of its graphs.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    for graph in PLANS:
        check_graph(folder / graph)
    commands = (
        trtexec.command("trtexec", Path(tower.graph), Path(PLANS[tower.graph]), profiles(tower))
        for tower in towers(manifest, options)
    )
    text = _SCRIPT.format(
        fingerprint=manifest.fingerprint(),
        gpu=GPU_LINES,
        first=trtexec.FIRST_TAG,
        script=SCRIPT_NAME,
        log=LOG_NAME,
        key=KEY_NAME,
        lines="\n".join(f"build {shlex.join(command)}" for command in commands),
    )
    path = folder / SCRIPT_NAME
    path.write_text(text, "utf-8")
    (folder / FACTS_SCRIPT_NAME).write_text(FACTS_SCRIPT, "utf-8")
    return path


def build(folder: Path, options: RepositoryOptions) -> PlansRecord:
    """Write the script, run it here, which takes minutes for each plan, and record the plans.

    Raises:
        ArtifactError: `folder` is not a valid artifact.
        ModelsError: there is no GPU here, or the script fails, which says why on standard error.
    """
    script = write_lines(folder, options)
    if gpu_here() is None:
        raise ModelsError(
            "nvidia-smi finds no GPU here, and plans are built on the GPU that will serve them. Run it there, or "
            f"take the script that `clipserve models plan-lines {folder}` writes."
        )
    if subprocess.run(["sh", script], check=False).returncode != 0:  # noqa: S603, S607  our own script
        raise ModelsError(f"{script} has not built the plans; it has said why.")
    return record(folder, options)


def record(folder: Path, options: RepositoryOptions) -> PlansRecord:
    """Write plans.json beside the plans that plans.sh has built. `options`: those given to `write_lines`.

    Raises:
        ArtifactError: `folder` is not a valid artifact.
        ModelsError: plans.sh has not run to its end, or with a TensorRT that is too old.
    """
    manifest = read_manifest(folder)
    missing = [name for name in (*PLANS.values(), KEY_NAME) if not (folder / name).is_file()]
    if missing:
        raise ModelsError(
            f"{folder} has no {missing[0]}: run its {SCRIPT_NAME} to the end first, on the GPU that will serve."
        )
    lines = (folder / KEY_NAME).read_text("utf-8", errors="replace").splitlines()
    key = dict(line.partition(" ")[::2] for line in lines)
    version = trtexec.accepted(trtexec.version_of(f"[TensorRT v{key.get('tensorrt')}]"))
    return write_record(folder, manifest, towers(manifest, options), version, key["gpu"])
