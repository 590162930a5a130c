"""What /openapi.json says is what the service does."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from clipserve.clip.formats import FORMATS
from clipserve.clip.manifest import TextSpec
from clipserve.errors import kinds
from clipserve.rest.errors import problem
from loadtests.fake_backend import FakeBackend
from tests.rest.documents import document_of, examples_of, faults, operations
from tests.rest.test_errors import made
from tests.support.service import DIM, TEXT, Running, serving, write_toy_artifact

HERE = Path(__file__).parent
PROBLEM = "application/problem+json"


@pytest.mark.slow
async def test_schemathesis_finds_no_difference_between_document_and_service(tmp_path: Path) -> None:
    # No text that the document allows has too many tokens for this model.
    text = TextSpec(**TEXT.model_dump() | {"context_length": 30_000})
    toy = await write_toy_artifact(tmp_path / "toy", text=text)
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(HERE / "schemathesis.toml"),
        "run",
    ]
    command += ["--checks", "all", "--max-examples", "20", "--generation-deterministic", "--no-color"]
    command += ["--exclude-tag", "clients of other servers"]  # other documents say what these take
    command += ["--suppress-health-check", "too_slow"]  # a busy machine is
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.rest.schemathesis_hooks",
        "PYTHONPATH": f"{HERE.parents[1]}:{HERE.parents[1]}/service:{HERE.parents[1]}/models",
    }
    async with serving(FakeBackend(DIM), toy, image_formats=tuple(FORMATS)) as running:
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, f"{running.url}/openapi.json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1_200,  # to notice a hang: on a busy machine it takes minutes
            check=False,
        )
    said = done.stdout + done.stderr
    assert done.returncode == 0, "\n".join(line[:500] for line in said.splitlines())
    assert "No issues found" in said


async def test_the_document_is_valid_openapi_3_1(running: Running) -> None:
    import schemathesis  # it takes half a second, in each process

    document = await document_of(running)
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()


async def test_every_error_is_a_problem_and_documented_by_its_status_and_code(running: Running) -> None:
    document = await document_of(running)
    own = [
        operation
        for _, operation in operations(document)
        if operation["tags"] != ["clients of other servers"]
    ]
    assert len(own) > 10
    for operation, kind in itertools.product(own, kinds()):
        response = problem(made(kind), "abc")
        answer = operation["responses"][str(response.status_code)]
        if (operation["operationId"], response.status_code) == ("readyz", 503):
            continue  # its own answer
        assert kind.code in answer["description"]
        assert list(answer["content"]) == [response.media_type] == [PROBLEM], kind
        body = orjson.loads(response.body)
        schema = answer["content"][PROBLEM]["schema"]
        assert faults(document, schema, body) == [], kind
        assert faults(document, schema, body | {"code": "unheard_of"}), kind


async def test_every_operation_has_a_name_a_group_and_examples_that_fit_their_schemas(
    running: Running,
) -> None:
    document = await document_of(running)
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert all(len(operation["tags"]) == 1 for _, operation in operations(document))
    bodies = [body for _, operation in operations(document) if (body := operation.get("requestBody"))]
    assert len(bodies) > 10
    for body in bodies:
        assert body["required"]
        content = next(iter(body["content"].values()))
        examples = examples_of(content)
        assert examples
        for example in examples:
            assert faults(document, content["schema"], example) == []


async def test_a_service_that_is_not_ready_says_so_as_documented(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, warm=False) as running:
        document = await document_of(running)
        assert (await running.client.get("/.well-known/ready")).status_code == 503
        answer = await running.client.get("/readyz")
        assert answer.status_code == 503
        described = document["paths"]["/readyz"]["get"]["responses"]["503"]["content"]
        assert faults(document, described[answer.headers["content-type"]]["schema"], answer.json()) == []
