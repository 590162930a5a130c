"""TensorRT plans of an artifact's two graphs, built by a script on the GPU that will serve them.

`plans.sh` in the artifact's folder needs a shell, trtexec and nvidia-smi, not clipserve, so it runs in NVIDIA's
image. It builds plans again only if the script, the GPU or the version of TensorRT has changed. A plan works with
one version of TensorRT on one kind of GPU, which TensorRT itself refuses on another; it computes in the artifact's
precision, as TensorRT takes the type of every tensor from the graph. TF32, which is on by default, is off.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest, verify_files
from clipserve.clip.manifest import ModelManifest
from clipserve_models.errors import ModelsError
from clipserve_models.triton_options import RepositoryOptions
from clipserve_models.triton_towers import Tower, towers

PLANS = {IMAGE_GRAPH: "image.plan", TEXT_GRAPH: "text.plan"}  # graph -> its plan
SCRIPT_NAME, LOG_NAME, KEY_NAME = "plans.sh", "plans.log", "plans.key"
# The first TensorRT, in trtexec's format, with strong typing as the recommended way. Older ones are refused.
FIRST_TAG = 101200
_SCRIPT = """\
#!/bin/sh
# Builds the TensorRT plans of {fingerprint} for the GPU of this machine.
# Written by `clipserve models plan-lines`; `clipserve models triton --backend tensorrt` comes after it.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/opt/tensorrt/bin:/usr/src/tensorrt/bin
# A slice of a GPU (MIG) has the name of the whole in the query, but plans of its own.
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
slice=$(nvidia-smi -L | sed -n 's/^ *\\(MIG [^ ]*\\) .*/\\1/p' | head -n 1)
gpu="$gpu${{slice:+ $slice}}"
tensorrt=$(trtexec --help 2>&1 | sed -n 's/.*\\[TensorRT v\\([0-9]*\\)\\].*/\\1/p' | head -n 1)
if [ "${{tensorrt:-0}}" -lt {first} ]; then
  echo "TensorRT ${{tensorrt:-of unknown version}} is older than {first}; plans need that or a newer one," >&2
  echo "which takes types from the graph. Use NVIDIA's TensorRT image of the same month as the Triton image." >&2
  exit 1
fi
key="artifact {fingerprint}
script $(cksum <{script})
gpu $gpu
tensorrt $tensorrt"
if [ -f image.plan ] && [ -f text.plan ] && [ "$(cat {key} 2>/dev/null)" = "$key" ]; then
  echo "the plans are there, built for $gpu with TensorRT $tensorrt"
  exit 0
fi
# The plans too: a model repository may have them by a hard link, and they must not change there.
rm -f {key} image.plan text.plan
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
    """Write plans.sh into the artifact. `options`: those of the repository that will serve the plans.

    Returns:
        its path.

    Raises:
        ArtifactError: `folder` is not a valid artifact.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    commands = (command(tower, PLANS[tower.graph]) for tower in towers(manifest, options))
    text = _SCRIPT.format(
        fingerprint=manifest.fingerprint(),
        first=FIRST_TAG,
        script=SCRIPT_NAME,
        log=LOG_NAME,
        key=KEY_NAME,
        lines="\n".join(f"build {shlex.join(each)}" for each in commands),
    )
    path = folder / SCRIPT_NAME
    path.write_text(text, "utf-8")
    return path


def command(tower: Tower, plan: str) -> list[str]:
    """What builds the plan of an encoder, with an optimization profile for each shape of a row.

    A profile is from one row to a full batch, tuned for a full call of a gateway. Each text length has its own: a
    profile over all lengths would be tuned for only one of them.
    """
    words = []
    for number, shape in enumerate(tower.shapes):
        words += [f"--profile={number}"] if len(tower.shapes) > 1 else []
        rows = {"min": 1, "opt": tower.full_call, "max": tower.policy.max_batch_size}
        words += [f"--{kind}Shapes={_shapes(tower, shape, count)}" for kind, count in rows.items()]
    files = [f"--onnx={tower.graph}", f"--saveEngine={plan}"]
    return ["trtexec", *files, *words, "--stronglyTyped", "--noTF32", "--skipInference"]


def check_plans(folder: Path, manifest: ModelManifest) -> None:
    """Raises ModelsError: plans.sh has not run to its end in `folder`, or for another artifact."""
    how = f"`clipserve models plan-lines {folder}` writes {SCRIPT_NAME}; run it on the GPU that will serve."
    for name in (*PLANS.values(), KEY_NAME):
        if not (folder / name).is_file():
            raise ModelsError(f"{folder / name} is not there: {how}")
    first = (folder / KEY_NAME).read_text("utf-8", errors="replace").partition("\n")[0]
    if (built := first.removeprefix("artifact ")) != manifest.fingerprint():
        raise ModelsError(
            f"the plans in {folder} were built from {built}, but the artifact there is "
            f"{manifest.fingerprint()}: {how}"
        )


def _shapes(tower: Tower, shape: tuple[tuple[int, ...], ...], rows: int) -> str:
    """As trtexec takes them: `token_ids:256x16,lengths:256`."""
    inputs = (
        (tensor.name, (rows, *(dims if tensor.graph_dims is None else tensor.graph_dims)))
        for tensor, dims in zip(tower.inputs, shape, strict=True)
    )
    return ",".join(f"{name}:{'x'.join(map(str, dims))}" for name, dims in inputs)
