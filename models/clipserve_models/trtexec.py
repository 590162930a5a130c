"""TensorRT's tool trtexec: the command that builds a plan, and the version that it prints.

TensorRT 11 takes the type of every tensor from the graph. From 10.12 on `--stronglyTyped` requests that, which 11
accepts and ignores; older versions are refused, because strong typing is not the recommended way there. TF32, which
is on by default, is off: it is less precise than fp32.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from clipserve_models.errors import ModelsError
from clipserve_models.plans import Profile, trtexec_shapes

FIRST = (10, 12)  # the first version with strong typing as the recommended way
FIRST_TAG = 101200  # the same in trtexec's format


def command(trtexec: str, graph: Path, plan: Path, profiles: Sequence[Profile]) -> list[str]:
    """The command that builds a plan with these optimization profiles."""
    return [
        trtexec,
        f"--onnx={graph}",
        f"--saveEngine={plan}",
        *(word for number, profile in enumerate(profiles) for word in _profile(number, profile, profiles)),
        "--stronglyTyped",
        "--noTF32",
        "--skipInference",
    ]


def version_of(output: str) -> str | None:
    """TensorRT's version in the first line of trtexec: "10.13.1"; None if there is none."""
    # "&&&& RUNNING TensorRT.trtexec [TensorRT v101301] ...", which is "v8601" up to TensorRT 9.
    said = re.search(r"\[TensorRT v(\d{1,2}?)(\d\d?)(\d\d)\]", output)
    return ".".join(str(int(part)) for part in said.groups()) if said else None


def accepted(version: str | None) -> str:
    """The version, if plans can be built with it.

    Raises:
        ModelsError: it is older than 10.12, or unknown.
    """
    least = ".".join(map(str, FIRST))
    if version is None:
        raise ModelsError(
            f"trtexec does not say its version, and plans need TensorRT {least} or newer. Use that of NVIDIA's "
            "TensorRT image of the same month as the Triton image."
        )
    if numbers(version)[:2] < FIRST:
        raise ModelsError(
            f"TensorRT {version} is too old: plans need {least} or newer, which takes the types of tensors from "
            "the graph. Use NVIDIA's TensorRT image of the same month as the Triton image."
        )
    return version


def numbers(version: str) -> tuple[int, ...]:
    """The first three numbers of a version; further ones do not decide whether a plan can be read."""
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])


def _profile(number: int, profile: Profile, profiles: Sequence[Profile]) -> list[str]:
    return [
        *([f"--profile={number}"] if len(profiles) > 1 else []),
        f"--minShapes={trtexec_shapes(profile.smallest)}",
        f"--optShapes={trtexec_shapes(profile.usual)}",
        f"--maxShapes={trtexec_shapes(profile.largest)}",
    ]
