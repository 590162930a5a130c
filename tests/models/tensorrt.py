"""Programs that stand in for TensorRT's and the driver's, and a demo model with something in the place of plans."""

from __future__ import annotations

import shutil
from pathlib import Path

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve_models.plans import PLANS, write_record
from clipserve_models.triton_options import DEFAULTS
from clipserve_models.triton_towers import towers

MANIFEST = read_manifest(DEMO)
TOWERS = towers(MANIFEST, DEFAULTS["tensorrt"])
GPU = "NVIDIA H100 80GB HBM3"

# As the real one it tells its version whatever it is asked, and refuses words that TensorRT 11 does not know.
_TRTEXEC = """#!/bin/sh
echo '&&&& RUNNING TensorRT.trtexec [TensorRT v{tag}] [b1] # trtexec'
profiles=0 shapes=0 strong=no tf32=yes
for word in "$@"; do
  case $word in
    --onnx=*) [ -f "${{word#*=}}" ] || exit 1 ;;
    --saveEngine=*) plan=${{word#*=}} ;;
    --profile=$profiles) profiles=$((profiles + 1)) ;;
    --minShapes=*x0* | --profile=*) echo "bad $word"; exit 1 ;;
    --minShapes=*) shapes=$((shapes + 1)) ;;
    --optShapes=* | --maxShapes=* | --skipInference) ;;
    --stronglyTyped) strong=yes ;;
    --noTF32) tf32=no ;;
    --help) exit 0 ;;
    *) echo "Unknown option: $word"; exit 1 ;;
  esac
done
echo built >>"$(dirname "$0")/calls"
echo "{tag} strong=$strong tf32=$tf32 profiles=$profiles shapes=$shapes" >"$plan"
"""


def programs(folder: Path, tag: int = 101301, gpu: str = GPU) -> Path:
    """A folder for PATH with trtexec and nvidia-smi; its file `calls` has a line for each plan that was built."""
    folder.mkdir(exist_ok=True)
    for name, text in {
        "trtexec": _TRTEXEC.format(tag=tag),
        "nvidia-smi": f"#!/bin/sh\necho '{gpu}'\n",
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def demo_copy(folder: Path) -> Path:
    """The demo model where it can be written to."""
    return Path(shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("*.py", "*.md")))


def demo_with_plans(folder: Path, tensorrt: str = "10.13.1", gpu: str = GPU) -> Path:
    """The demo model with the names of plans in the place of plans, and their record."""
    artifact = demo_copy(folder)
    for plan in PLANS.values():
        (artifact / plan).write_bytes(plan.encode())
    write_record(artifact, MANIFEST, TOWERS, tensorrt, gpu)
    return artifact
