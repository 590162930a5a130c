"""Command lines of Docker for NVIDIA's images; and those that run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.process import free_port

# As docker-compose.yml starts it; metrics have a port of their own.
TRITON = (
    "tritonserver",
    "--model-repository=/repository",
    "--model-control-mode=none",
    "--disable-auto-complete-config",
    "--allow-http=false",
    "--grpc-http2-max-ping-strikes=0",
)


@dataclass(frozen=True)
class Images:
    """NVIDIA's images, of one month: full names with their tags. Without `sdk` there is no perf_analyzer."""

    triton: str
    tensorrt: str
    sdk: str | None = None

    def names(self) -> dict[str, str]:
        """By what they are for; only those that are used."""
        named = {"triton": self.triton, "tensorrt": self.tensorrt, "sdk": self.sdk}
        return {key: name for key, name in named.items() if name}


def run_line(
    image: str, *words: str, folders: Mapping[Path, str], options: tuple[str, ...] = ()
) -> list[str]:
    """`docker run` on the first GPU. `folders`: of this host, and where they are inside."""
    mounts = [f"--volume={host.resolve()}:{inside}" for host, inside in folders.items()]
    user = f"--user={os.getuid()}:{os.getgid()}"
    return ["docker", "run", "--rm", "--gpus=device=0", user, *mounts, *options, image, *words]


def script_line(image: str, artifact: Path, script: str) -> list[str]:
    """A script that `models plan-lines` has written into the artifact, run by an image of NVIDIA's."""
    return run_line(
        image, f"/artifact/{script}", folders={artifact: "/artifact"}, options=("--entrypoint=sh",)
    )


def triton_line(image: str, repository: Path, name: str, grpc_port: int, metrics_port: int) -> list[str]:
    """A Triton with these models, whose ports are this host's alone."""
    ports = (f"--publish=127.0.0.1:{grpc_port}:8001", f"--publish=127.0.0.1:{metrics_port}:8002")
    options = (f"--name={name}", "--shm-size=1g", *ports)
    return run_line(image, *TRITON, folders={repository: "/repository:ro"}, options=options)


@contextmanager
def triton(image: str, repository: Path, log: Path) -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    """A Triton that is on its way up: its gRPC host:port, the address of its metrics, and Docker's client."""
    grpc_port, metrics_port, name = free_port(), free_port(), f"clipserve-gpu-check-{os.getpid()}"
    with log.open("ab") as file:
        command = triton_line(image, repository, name, grpc_port, metrics_port)
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{metrics_port}/metrics", process
    finally:
        subprocess.run(["docker", "stop", "--time=30", name], check=False, capture_output=True)
        process.wait(60)


def digest(image: str) -> str:
    """What the image's name stands for on this host: NAME@sha256:..., or its id."""
    form = "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}"
    command = ["docker", "image", "inspect", f"--format={form}", image]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
