"""The Dockerfile, built and run for real: hardened, it serves, and holds nothing that serving does not need."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import httpx
import pytest

from tests.external.image.conftest import REVISION
from tests.external.image.container import Container, classify, classify_by_grpc, until
from tests.external.image.engine import Engine, lines_of

MOST_MEGABYTES = 800
TOOLS = ("pip", "pip3", "gcc", "cc", "g++", "c++", "clang", "make", "ld", "as", "git", "curl", "wget")
# Names and versions of what is installed, as Python sees it.
INSTALLED = """
import importlib.metadata
print(*{f"{each.name} {each.version}" for each in importlib.metadata.distributions()}, sep="\\n")
"""


def test_the_image_runs_as_one_user_without_capabilities_on_a_root_that_is_read_only(
    running: Container,
) -> None:
    status = dict(lines_of(running.execute("cat", "/proc/1/status")))
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    root = next(line.split() for line in running.execute("cat", "/proc/mounts").splitlines() if " / " in line)
    assert "ro" in root[3].split(",")


def test_the_image_alone_asks_for_that_user(engine: Engine, image: str) -> None:
    assert engine.inspect(image)["Config"]["User"] == "10001:10001"


def test_the_image_serves_the_demo_model_over_rest_and_grpc(running: Container) -> None:
    with httpx.Client(base_url=running.url, timeout=60) as client:
        assert classify(client) == "cat"
        vectors = client.post("/embed", json={"texts": ["a cat"]}).json()["results"]
    assert len(vectors[0]["embedding"]) > 100
    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        assert classify_by_grpc(channel) == "cat"


def test_the_image_s_own_healthcheck_passes_and_fails_where_nothing_listens(
    engine: Engine, image: str, running: Container
) -> None:
    kind, *command = engine.inspect(image)["Healthcheck"]["Test"]
    assert kind == "CMD"

    def passes() -> bool:
        """A service that waits for a core does not answer within its two seconds."""
        try:
            running.execute(*command)
            return True
        except AssertionError:
            return False

    until(passes, running.log)
    elsewhere = ["podman", "exec", "--env=CLIPSERVE_OPERATIONS_PORT=1", running.id, *command]
    with pytest.raises(AssertionError, match="refused"):
        engine.run(*elsewhere)


def test_the_image_holds_no_tool_that_serving_does_not_need(running: Container) -> None:
    asked = f"for tool in {' '.join(TOOLS)} ls; do command -v $tool; done"
    assert [Path(found).name for found in running.execute("sh", "-c", asked).split()] == ["ls"]


def test_neither_python_can_install_packages(running: Container) -> None:
    asked = (
        "import importlib.util as u; print([m for m in ('pip', 'ensurepip', 'setuptools') if u.find_spec(m)])"
    )
    pythons = running.execute(
        "sh", "-c", "ls /app/.venv/bin/python /usr/bin/python3 /usr/local/bin/python3", check=False
    )
    assert len(pythons.split()) == 2
    for python in pythons.split():
        assert running.execute(python, "-c", asked) == "[]"
    assert (
        running.execute("find", "/", "-xdev", "-name", "pip-*", "-not", "-path", "/proc/*", check=False) == ""
    )


def test_the_code_is_compiled(running: Container) -> None:
    def count(pattern: str) -> int:
        found = running.execute(
            "sh", "-c", f"find /app/.venv/lib/python3*/site-packages/clipserve* -name '{pattern}'"
        )
        return len(found.split())

    assert count("*.pyc") == count("*.py") > 0
    assert count("_resample.abi3.so") == 1


def test_the_list_of_packages_in_it_is_that_of_what_is_installed(running: Container, version: str) -> None:
    listed = json.loads(running.execute("cat", "/app/sbom.cdx.json"))
    assert listed["bomFormat"] == "CycloneDX"
    assert listed["metadata"]["component"]["name"] == "clipserve-core"
    found = {f"{each['name']} {each['version']}" for each in listed["components"]}
    assert found | {f"clipserve-core {version}"} == set(
        running.execute("/app/.venv/bin/python", "-c", INSTALLED).splitlines()
    )


def test_the_labels_of_the_image_say_what_it_is(engine: Engine, image: str, version: str) -> None:
    labels = engine.inspect(image)["Labels"]
    said = {
        name.rpartition(".")[2]: value
        for name, value in labels.items()
        if name.startswith("org.opencontainers")
    }
    assert said["version"] == version
    assert said["revision"] == REVISION
    assert (said["title"], said["licenses"]) == ("clipserve", "Apache-2.0")
    assert "CLIP" in said["description"]


def test_label_sets_are_kept_in_a_volume_and_their_lack_does_not_stop_it(
    engine: Engine, image: str, running: Container
) -> None:
    body = {"labels": ["cat", "dog"]}
    assert httpx.put(running.url + "/label-sets/pets", json=body, timeout=60).status_code == 503
    first = Container(engine, image, "--volume=clipserve-image-test:/var/lib/clipserve")
    try:
        first.wait_ready()
        assert httpx.put(first.url + "/label-sets/pets", json=body, timeout=60).is_success
        assert first.execute("stat", "-c", "%u %a", "/var/lib/clipserve") == "10001 700"
    finally:
        first.remove()
        engine.run("podman", "volume", "rm", "clipserve-image-test")


def base_megabytes(engine: Engine) -> float:
    return float(engine.inspect("localhost/clipserve-base")["Size"]) / 1e6


def test_the_image_is_small(engine: Engine, image: str) -> None:
    assert engine.inspect(image)["Size"] / 1e6 - base_megabytes(engine) < MOST_MEGABYTES
