"""A Triton of arithmetic, and a gateway of two processes in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from loadtests.process import FakeTriton, fake_triton
from tests.process import ROOT, Process
from tests.support import write_toy_artifact


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeTriton]:
    """It answers at once, with the artifact of the toy model."""
    toy = asyncio.run(write_toy_artifact(tmp_path_factory.mktemp("artifact") / "toy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        with fake_triton(toy) as running:
            yield running


def two_processes(triton: FakeTriton, **settings: str | int) -> Process:
    """A gateway in front of it, which may not be ready yet."""
    defaults: dict[str, str | int] = {"processes": 2, "backend": "triton", "max_blocked_seconds": 10}
    defaults["decode_processes"] = "false"  # they need a while to start
    return Process(models=str(triton.artifact), triton_url=triton.url, **(defaults | settings))


@pytest.fixture(scope="module")
def gateway(triton: FakeTriton) -> Iterator[Process]:
    """One for all tests of a module, which leave it with two processes that are ready."""
    process = two_processes(triton)
    process.wait_ready()
    yield process
    assert process.stop()[0] == 0
