"""A real Triton for a repository, in NVIDIA's image on the GPU or on this CPU; and what it counts."""

from __future__ import annotations

import subprocess
import time
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import tritonclient.grpc as client
from tritonclient.grpc import model_config_pb2 as pb

from loadtests.gpu import docker
from loadtests.process import free_port, serve_repository
from loadtests.prometheus import read

_READY_SECONDS = 600.0  # a plan or a CUDA library is loaded for the first time; every shape is warmed up


_LOG_LINES = 40  # of a Triton that did not start


class NotReady(Exception):
    """A Triton does not serve; with the end of its log."""


@dataclass(frozen=True)
class Triton:
    """A server that is ready. `models`: tower -> the configuration that the server states."""

    url: str
    metrics_url: str
    models: dict[str, pb.ModelConfig]

    @property
    def lengths(self) -> list[int]:
        """The lengths that its text model is made for."""
        stated = self.models["text"].parameters["text_lengths"].string_value
        return [int(each) for each in stated.split(",")]

    def counted(self) -> Counted:
        """Since it started."""
        samples = read(self.metrics_url)
        rows: dict[tuple[str, str], float] = {}
        for (name, labels), value in samples.items():
            model = dict(labels).get("model", "")
            if name in _COUNTERS:
                rows[_COUNTERS[name], model.rpartition("_")[2]] = value
        return Counted(rows)


_COUNTERS = {
    "nv_inference_count_total": "rows",
    "nv_inference_exec_count_total": "executions",
    "nv_inference_compute_infer_duration_us_total": "computing",
    "nv_inference_queue_duration_us_total": "queueing",
    "nv_inference_request_success_total": "requests",
}


@dataclass(frozen=True)
class Counted:
    """Triton's counters by (what, tower): rows, executions, requests, microseconds of computing and of queueing."""

    values: dict[tuple[str, str], float]

    def since(self, before: Counted, tower: str) -> dict[str, float]:
        """What a tower did: `rows_an_execution`, `compute_ms` an execution, `queue_ms` a request, and the rows a
        second that it would compute if nothing else took time, in `computed_rows`, of one instance."""
        grown = {
            what: self.values.get((what, tower), 0.0) - before.values.get((what, tower), 0.0)
            for what in _COUNTERS.values()
        }
        executions, seconds = max(1.0, grown["executions"]), grown["computing"] / 1e6
        # Triton counts the time of an execution once for each of its requests.
        shared = grown["requests"] / executions if grown["requests"] else 1.0
        own = seconds / max(1.0, shared)
        return {
            "rows_an_execution": grown["rows"] / executions,
            "compute_ms": own / executions * 1000,
            "queue_ms": grown["queueing"] / 1000 / max(1.0, grown["requests"]),
            "computed_rows": grown["rows"] / own if own else 0.0,
        }


@contextmanager
def serving(repository: Path, images: docker.Images | None, log: Path) -> Iterator[Triton]:
    """A Triton that serves the repository, once it is ready; without images on this CPU.

    Raises:
        NotReady: it has ended, or is not ready in ten minutes.
    """
    with ExitStack() as stack:
        process = None
        if images is None:
            port = free_port()
            url = stack.enter_context(serve_repository(repository, port))
            metrics_url = f"http://127.0.0.1:{port}/metrics"
        else:
            url, metrics_url, process = stack.enter_context(docker.triton(images.triton, repository, log))
        _wait(metrics_url, process, log)
        names = [path.name for path in repository.iterdir() if (path / "config.pbtxt").is_file()]
        with client.InferenceServerClient(url) as connected:
            models = {name.rpartition("_")[2]: connected.get_model_config(name).config for name in names}
        yield Triton(url, metrics_url, models)


def _wait(metrics_url: str, process: subprocess.Popen[bytes] | None, log: Path) -> None:
    """Its metrics come after its models are warm. `process`: of a server in Docker, which may end instead."""
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and (process is None or process.poll() is None):
        try:
            read(metrics_url)
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    said = log.read_text("utf-8", errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
    raise NotReady("\n".join([f"Triton has ended, or was not ready in {_READY_SECONDS:g} s.", *said]))
