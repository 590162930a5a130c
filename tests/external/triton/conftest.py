"""A real Triton server for tests: installed once, on free ports, with the demo model on the Python backend."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from clipserve.demo import FOLDER as DEMO
from loadtests.process import free_port
from tests.external.triton.python_backend import write_models

ROOT = Path(__file__).parents[3]
LOCAL = ROOT / "deploy" / "triton" / "local.sh"
RUN = '(embeddings,) = self._session.run(["embedding"], rows)'  # the line of model.py that computes
SHARED = "triton_python_backend_shm_region_"  # how the names begin of what a server shares with its models
SECONDS = 600  # for a start or an end, of which each takes a few


class Triton:
    """A server on `repository`. It and the processes of its models are one process group, signalled together."""

    def __init__(self, repository: Path, log: Path, *options: str) -> None:
        self._options = options
        self.grpc_port, self.metrics_port = free_port(), free_port()
        self._repository = repository
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = False

    @property
    def url(self) -> str:
        """What tritonclient.grpc takes."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it where it is not running. It is on its way up when this returns: `wait_ready`."""
        if self._ending and self._process:
            self._process.wait(SECONDS)
        if self.running:
            return
        self._end_models()  # of one that crashed
        self._ending = False
        ports = {"TRITON_GRPC_PORT": str(self.grpc_port), "TRITON_METRICS_PORT": str(self.metrics_port)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [LOCAL, "serve", self._repository, *self._options],
                env=os.environ | {"TRITON_PYTHON": sys.executable} | ports,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self, seconds: float = SECONDS) -> None:
        """Return when it serves: with strict readiness its ports open after the warm-up.

        Raises:
            AssertionError: it ended instead, or takes longer; with the end of its log.
        """
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            try:
                self.metrics()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("Triton is not ready:\n" + self._log.read_text(errors="replace")[-3000:])

    def stop(self) -> None:
        """SIGTERM: it answers what is in flight, and ends."""
        self.terminate()
        if self._process:
            self._process.wait(SECONDS)
        self._end_models()

    def terminate(self) -> None:
        """SIGTERM, without waiting for the end."""
        self._ending = True
        if self.running and self._process:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does. What it shared with the processes of its models goes too."""
        shared = self._shared_with_models()
        self._signal(signal.SIGKILL)
        if self._process:
            self._process.wait()
        self._end_models()
        for path in shared:
            path.unlink(missing_ok=True)

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing.

        The processes of its models go on. If one of them comes back some tenths of a second later than the
        server does, as on a busy machine, the Python backend fails its calls, and the server aborts.
        """
        if self.running and self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()
        self.wait_ready()

    def metrics(self) -> list[Sample]:
        """All samples of its metrics port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=60) as reply:
            families = text_string_to_metric_families(reply.read().decode())
            return [sample for family in families for sample in family.samples]

    def count(self, name: str, **labels: str) -> float:
        """The sum of the samples of `name` that have these labels: model, version, reason ..."""
        # The parser adds `_total` to the names of counters.
        samples = (sample for sample in self.metrics() if sample.name in (name, f"{name}_total"))
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    async def settled(self, name: str, **labels: str) -> float:
        """What stays for a second: it counts a call a moment after its answer."""
        seen: list[float] = []
        while len(seen) < 10 or len(set(seen[-10:])) > 1:
            seen.append(await asyncio.to_thread(self.count, name, **labels))
            await asyncio.sleep(0.1)
        return seen[-1]

    def cpu_seconds(self) -> float:
        """That the server itself has used, without the processes of the Python backend."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _shared_with_models(self) -> set[Path]:
        """Files that only an end in order removes: megabytes of memory each."""
        if not self.running or not self._process:
            return set()
        mapped = Path(f"/proc/{self._process.pid}/maps").read_text().split()
        return {Path(word) for word in mapped if word.startswith(f"/dev/shm/{SHARED}")}

    def _end_models(self) -> None:
        """Those of a server that crashed go on, with hundreds of megabytes, and with what they shared with it."""
        if self._process is None:
            return
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                group = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
                # Where none of them is left, the number may be another group's.
                program, *arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if group == self._process.pid and program.endswith("python_backend_stub"):
                    os.kill(int(folder.name), signal.SIGKILL)
                    for name in arguments:
                        if name.startswith(SHARED):
                            Path("/dev/shm", name).unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process:
            os.killpg(self._process.pid, number)


@pytest.fixture(scope="session")
def triton_installed() -> None:
    """The server of deploy/triton/local.sh, in TRITON_HOME or .triton."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the server on PyPI is for Linux on x86_64 only")
    subprocess.run([LOCAL, "setup"], env=os.environ | {"TRITON_PYTHON": sys.executable}, check=True)


@pytest.fixture(scope="session")
def demo_triton(triton_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """One server for all tests; take `triton`, which is sure to be up."""
    folder = tmp_path_factory.mktemp("triton")
    write_models(DEMO, folder / "models")
    server = Triton(folder / "models", folder / "log.txt")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def demo_pair(triton_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Triton]]:
    """Two servers for all tests that end one; an instance each, so that they start in half the time."""
    folder = tmp_path_factory.mktemp("pair")
    write_models(DEMO, folder / "models", instances=1)
    servers = [Triton(folder / "models", folder / f"{name}.txt") for name in ("one", "two")]
    yield servers
    for server in servers:
        server.kill()


@pytest.fixture
def triton(demo_triton: Triton) -> Triton:
    """The demo model on a server that is up, and that no test ends."""
    return up(demo_triton)


@pytest.fixture
def brittle(demo_pair: list[Triton]) -> Triton:
    """Another one, which tests end and start again: it is up, whatever the test before did to it."""
    return up(demo_pair[0])


@pytest.fixture
def pair(demo_pair: list[Triton]) -> list[Triton]:
    """Two of them."""
    return [up(server) for server in demo_pair]


def up(server: Triton) -> Triton:
    server.resume()
    server.start()
    server.wait_ready()
    return server


@pytest.fixture
def triton_of(triton_installed: None, tmp_path: Path) -> Iterator[Callable[..., Triton]]:
    """Servers of their own: an edit of the image model's model.py, flags of tritonserver's, our options."""
    servers: list[Triton] = []

    def make(edit: Callable[[str], str] | None = None, *flags: str, **options: int) -> Triton:
        write_models(DEMO, tmp_path / "models", **{"instances": 1} | options)
        if edit is not None:
            program = tmp_path / "models" / "demo_image" / "1" / "model.py"
            program.write_text(edit(program.read_text()))
        server = Triton(tmp_path / "models", tmp_path / "log.txt", *flags)
        servers.append(server)
        server.start()
        server.wait_ready()
        return server

    yield make
    for server in servers:
        server.kill()
