"""A container of the image, hardened as the documents say, and clients of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
import httpx

from clipserve.v1 import clip_pb2, clip_pb2_grpc
from loadtests.process import free_port
from tests.external.image.engine import ROOT, Engine

HARDENED = (
    "--read-only",
    "--read-only-tmpfs=false",  # podman's own, on more folders than /tmp
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
LABELS = ("cat", "dog", "car")
PHOTO = (ROOT / "docs/cat.jpg").read_bytes()


class Container:
    """Runs until `remove`. `options` are podman's, `settings` the service's."""

    def __init__(self, engine: Engine, image: str, *options: str, **settings: str | int) -> None:
        self._engine = engine
        self.port, self.grpc_port, self.operations_port = free_port(), free_port(), free_port()
        ports = {self.port: 8080, self.grpc_port: 8081, self.operations_port: 8082}
        published = [f"--publish=127.0.0.1:{outer}:{inner}" for outer, inner in ports.items()]
        chosen = [f"--env=CLIPSERVE_{name.upper()}={value}" for name, value in settings.items()]
        self.started = time.monotonic()
        self.id = engine.run("podman", "run", "--detach", *HARDENED, *published, *chosen, *options, image)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        """What the operations port says."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.operations_port}/readyz", timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self) -> float:
        """Seconds from its start until it is ready."""
        until(self.ready, self.log)
        return time.monotonic() - self.started

    def execute(self, *command: str, check: bool = True) -> str:
        return self._engine.run("podman", "exec", self.id, *command, check=check)

    def drain(self) -> None:
        """Let it say that it is not ready, until `stop` or for its delay."""
        self._engine.run("podman", "kill", "--signal=TERM", self.id)

    def stop(self) -> int:
        """End it as an orchestrator does, with more time than on a quiet machine; its exit status."""
        self._engine.run("podman", "stop", "--time=300", self.id)
        return int(self._engine.run("podman", "inspect", "--format={{.State.ExitCode}}", self.id))

    def log(self) -> str:
        return self._engine.log(self.id)

    def remove(self) -> None:
        self._engine.run("podman", "rm", "--force", "--time=0", "--volumes", self.id)


def until(holds: Callable[[], bool], why: Callable[[], str]) -> None:
    """Wait until it holds, which takes seconds.

    Raises:
        AssertionError: it does not in ten minutes, with what `why` says then.
    """
    end = time.monotonic() + 600
    while not holds():
        assert time.monotonic() < end, why()
        time.sleep(0.1)


def classify(client: httpx.Client) -> str:
    """The best label of the photo."""
    answer = client.post("/classify", files={"image": PHOTO}, data={"labels": list(LABELS)})
    return str(answer.raise_for_status().json()["results"][0]["labels"][0]["label"])


def classify_by_grpc(channel: grpc.Channel, timeout: float = 60) -> str:
    """The same over gRPC."""
    request = clip_pb2.ClassifyRequest(images=[PHOTO], labels=LABELS)
    answer = clip_pb2_grpc.ClipStub(channel).Classify(request, timeout=timeout)
    return str(answer.results[0].labels[0].label)
