"""docker-compose.yml, run by podman-compose on the engine's storage."""

from __future__ import annotations

import re
from pathlib import Path

from loadtests.process import free_port
from tests.external.image.container import until
from tests.external.image.engine import ROOT, Engine

NAME = "clipserve-compose-test"
# Where the file's images are found here.
IMAGES = {
    "ALERTMANAGER_IMAGE": "localhost/clipserve-alertmanager",
    "CLIPSERVE_IMAGE": "localhost/clipserve",
    "HAPROXY_IMAGE": "localhost/clipserve-haproxy",
    "PROMETHEUS_IMAGE": "localhost/clipserve-prometheus",
    "REDIS_IMAGE": "localhost/clipserve-redis",
    "TENSORRT_IMAGE": "localhost/clipserve-tensorrt",
}
PORTS = ("PORT", "GRPC_PORT", "OPERATIONS_PORT", "EDGE_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT")


def each_job_alone(folder: Path) -> Path:
    """docker-compose.yml, but no service asks for a GPU or waits for another one; in `folder`."""
    text = (ROOT / "docker-compose.yml").read_text()
    for unwanted in (r"    deploy: .*devices.*\n", r"    depends_on:\n(?:      .+\n)+"):
        text, times = re.subn(unwanted, "", text)
        assert times
    file = folder / "docker-compose.yml"
    file.write_text(text.replace("./", f"{ROOT}/"))
    return file


class Compose:
    """A project of its own, with free ports. `files`: in place of docker-compose.yml."""

    def __init__(self, engine: Engine, *files: Path, **variables: str) -> None:
        self._engine = engine
        self.ports = {name: free_port() for name in PORTS}
        ports = {name: str(port) for name, port in self.ports.items()}
        self._variables = {**IMAGES, **ports, **variables}
        self._files = [f"--file={file}" for file in files]

    def run(self, *words: str) -> str:
        """podman-compose with these words; its standard output."""
        command = ["podman-compose", "--project-name", NAME, *self._files, *words]
        return self._engine.run(*command, check=True, **self._variables)

    def up(self, *services: str, profiles: tuple[str, ...] = ()) -> None:
        chosen = [word for profile in profiles for word in ("--profile", profile)]
        self.run(*chosen, "up", "--detach", "--no-build", *services)

    def job(self, profile: str, service: str) -> str:
        """Run a service that ends, to its end."""
        return self.run("--profile", profile, "run", "--rm", "--no-deps", "-T", service)

    def container(self, service: str, number: int = 1) -> str:
        return f"{NAME}_{service}_{number}"

    def execute(self, service: str, *command: str) -> str:
        return self._engine.run("podman", "exec", self.container(service), *command)

    def finds(self, service: str, other: str) -> bool:
        """Whether a service's container knows the address of another one's."""
        return self.execute(service, "sh", "-c", f"getent hosts {other} || echo unknown") != "unknown"

    def wait_found(self, service: str, other: str) -> None:
        """Names are known a moment after their containers have started."""
        until(
            lambda: self.finds(service, other),
            lambda: f"no {other} for {service}\n{self._engine.names()}",
        )

    def log(self, service: str) -> str:
        return self._engine.log(self.container(service))

    def down(self) -> None:
        every = ("edge", "redis", "monitoring", "triton")
        chosen = [word for profile in every for word in ("--profile", profile)]
        self.run(*chosen, "down", "--volumes", "--timeout=1")
