"""Runs tests of a copy of the checkout, in a process that has imported the libraries already."""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HANGS = 60  # seconds of one test: a mutant that hangs is noticed
LONGEST = 600  # seconds of them all: some mutants keep pytest itself from its end
PRELOADED = [
    *(
        "pytest",
        "hypothesis",
        "schemathesis",
        "httpx",
        "h11",
        "fastapi",
        "uvicorn",
        "pydantic_settings",
        "grpc",
    ),
    *(
        "tritonclient.grpc.aio",
        "numpy",
        "onnxruntime",
        "openvino",
        "tokenizers",
        "PIL.Image",
        "redis.asyncio",
    ),
]
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(PRELOADED)


def exit_status(copy: Path, tests: list[str], *options: str) -> int:
    """That of pytest on these tests; 0 when all pass."""
    named = copy / "tests-to-run"
    named.write_text("\n".join(tests))
    limit = ["-o", f"faulthandler_timeout={HANGS}", "-o", "faulthandler_exit_on_timeout=true"]
    quiet = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    process = PROCESSES.Process(target=_run, args=(copy, ["-x", *quiet, *limit, *options, f"@{named}"]))
    process.start()
    process.join(LONGEST)
    process.kill()  # what has ended does not mind
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(copy: Path, arguments: list[str]) -> None:
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": f"{copy / 'service'}:{copy / 'models'}", "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[:] = [
        str(copy),
        *(path for path in sys.path if ".venv" in path or not path.startswith(str(ROOT))),
    ]
    for name in [
        name for name in sys.modules if name.split(".")[0] in ("tests", "clipserve", "clipserve_models")
    ]:
        del sys.modules[name]
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os._exit(pytest.main(arguments))
