"""The jobs of the profile triton, one after another, up to what Triton would read.

podman-compose does not wait for a job's end before it starts the next: they are run here in the file's order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.external.image.compose import NAME, Compose, each_job_alone
from tests.external.image.engine import TOOLS, Engine
from tests.support.process import demo_named


@pytest.fixture
def compose(engine: Engine, image: str, tmp_path: Path) -> Iterator[Compose]:
    made = Compose(engine, each_job_alone(tmp_path), CLIPSERVE_IMAGE=image)
    try:
        yield made
    finally:
        made.down()


def repository(engine: Engine) -> str:
    """The files of Triton's models, and their configurations."""
    show = "cd /repository/models && find . -type f && cat */config.pbtxt"
    volume = f"--volume={NAME}_repository:/repository:ro"
    return engine.run("podman", "run", "--rm", "--network=none", volume, TOOLS, "sh", "-c", show)


def test_a_repository_is_written_from_the_graphs(engine: Engine, compose: Compose) -> None:
    for job in ("artifact", "repository"):
        compose.job("triton", job)
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
            each.job("triton", job)
    shown = repository(engine)
    assert shown.count("model.onnx\n") == 2
    assert "./other_image/1/model.onnx" in shown
