"""The jobs of the profiles gpu and tensorrt, one after another, up to what Triton would read.

podman-compose does not wait for a job's end before it starts the next: they are run here in the file's order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.external.image.compose import NAME, Compose, each_job_alone
from tests.external.image.engine import TOOLS, Engine
from tests.process import demo_named

# Programs in place of NVIDIA's, for both of its images: a plan is an empty line.
TENSORRT = (
    r"""RUN printf '#!/bin/sh\necho "RUNNING TensorRT.trtexec [TensorRT v101301]"\n' > /usr/bin/trtexec""",
    r"RUN printf 'for word; do case $word in --save*) echo > ${word#*=} ;; esac; done\n' >> /usr/bin/trtexec",
    "ENV TRT_VERSION=10.13.1.4",
    r"RUN printf '#!/bin/sh\necho A GPU\n' > /usr/bin/nvidia-smi && chmod +x /usr/bin/trtexec /usr/bin/nvidia-smi",
)


@pytest.fixture
def compose(engine: Engine, image: str, tmp_path: Path) -> Iterator[Compose]:
    nvidia = engine.stand_in("tensorrt", *TENSORRT)
    made = Compose(engine, each_job_alone(tmp_path), CLIPSERVE_IMAGE=image, TRITON_IMAGE=nvidia)
    try:
        yield made
    finally:
        made.down()


def repository(engine: Engine) -> str:
    """The files of Triton's models, and their configurations."""
    show = "cd /repository/models && find . -type f && cat */config.pbtxt"
    volume = f"--volume={NAME}_repository:/repository:ro"
    return engine.run("podman", "run", "--rm", "--network=none", volume, TOOLS, "sh", "-c", show)


def test_the_gpu_profile_writes_a_repository_of_the_graphs(engine: Engine, compose: Compose) -> None:
    for job in ("artifact", "repository"):
        compose.job("gpu", job)
    shown = repository(engine)
    assert shown.count("model.onnx\n") == 2
    assert 'backend: "onnxruntime"' in shown


def test_another_artifact_replaces_the_models_of_the_one_before(
    engine: Engine, image: str, compose: Compose, tmp_path: Path
) -> None:
    other = Compose(
        engine,
        each_job_alone(tmp_path),
        CLIPSERVE_IMAGE=image,
        ARTIFACT=str(demo_named("other", tmp_path)),
    )
    for each in (compose, other):
        for job in ("artifact", "repository"):
            each.job("gpu", job)
    shown = repository(engine)
    assert shown.count("model.onnx\n") == 2
    assert "./other_image/1/model.onnx" in shown


def test_the_tensorrt_profile_builds_plans_from_our_lines_and_serves_those(
    engine: Engine, compose: Compose
) -> None:
    jobs = ("artifact", "plan-lines", "plans", "triton-facts", "repository-of-plans")
    said = {job: compose.job("tensorrt", job) for job in jobs}
    assert said["plans"].count("building for A GPU") == 2
    assert "Triton's image has TensorRT 10.13.1.4; its GPU is A GPU" in said["triton-facts"]
    shown = repository(engine)
    assert shown.count("model.plan\n") == 2
    assert 'string_value: "16,32,77"' in shown
    assert "the plans are there" in compose.job("tensorrt", "plans")
