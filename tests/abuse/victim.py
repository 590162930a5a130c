"""A service under attack, as a process that may have 2.4 gigabytes of addresses, and the one bar for attacks.

It has 1.8 of them after its start, most of them unused arenas of its threads. What cannot be allocated is an error
of one request, never the process's end.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clipserve.demo import FOLDER as DEMO
from tests.abuse import attacker, hostile_host, measure
from tests.abuse.answers import LATE
from tests.abuse.attack import Attack, Played, good
from tests.abuse.neighbour import Neighbour
from tests.support.process import PATIENT, Process, post

_KIB = 2_400_000
_MOST_BYTES = (
    250_000_000  # beyond what it had before; 1,000 new labels, whose scores nobody takes, were 182 MB
)
_MOST_SECONDS = 10.0  # that the neighbour waits, ten times the usual and more
_MANY_SECONDS = 1.0
_ATTEMPTS = 3  # pauses of the machine's own do not come each time
_PATIENCE = 60  # seconds: until a busy server has seen that all clients have left
_PHOTO = (4_000, 3_000)


@dataclass
class Verdict:
    """What an attack did. `late`: a fault that a machine which is busy with other things brings too.

    `waited`: the 99th percentile of the neighbour's seconds.
    """

    cpu: float
    memory: int
    statuses: Counter[int]
    faults: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    waited: float = 0.0


def _cleaning_model(folder: Path) -> Path:
    """The demo model with CLIP's cleaning of texts in front of its tokenizer: most hostile texts aim at that."""
    copy = Path(shutil.copytree(DEMO, folder / "demo", ignore=shutil.ignore_patterns("*.py", "*.md")))
    manifest = json.loads((copy / "model.json").read_text())
    manifest["text"]["cleaning"] = "lower"
    del manifest["reference"]["token_ids"]  # of other tokens: a start compares them
    (copy / "model.json").write_text(json.dumps(manifest))
    return copy


class Victim:
    """A running service, and a neighbour who is silent while costs are measured."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        settings: dict[str, Any] = {
            "models": str(_cleaning_model(Path(self._folder.name))),
            "backend": "onnx",
            "threads": 0,  # as it is shipped
            "image_formats": "JPEG,PNG,WEBP,HEIC",
            "image_hosts": f"{hostile_host.url()}=127.0.0.0/8",
        }
        spawning = multiprocessing.get_context("spawn")
        self._attacker, orders = spawning.Pipe()
        spawning.Process(target=attacker.main, args=(orders,), daemon=True).start()
        orders.close()
        confined = ("bash", "-c", f'ulimit -v {_KIB}; exec "$@"', "-")
        self.process = Process(*confined, **settings, **PATIENT)
        self.process.wait_ready()
        self.pid = self.process.popen.pid
        parts = urlsplit(self.process.url)
        assert parts.hostname
        assert parts.port
        for _ in range(3):
            assert self._good(*_PHOTO) == 200
        self._neighbour = Neighbour(parts.hostname, parts.port)
        self._neighbour.since(time.monotonic())  # it is there
        with self._neighbour.silent():
            self.photo = max(0.05, min(self._cost(lambda: self._good(*_PHOTO))[0] for _ in range(3)))

    def attacked(self, attack: Attack) -> Verdict:
        """Attack once, and then on many connections. Where it was only late, two more times."""
        for _ in range(_ATTEMPTS):
            verdict = self._attacked(attack)
            if verdict.faults or not verdict.late:
                break
        verdict.faults += verdict.late
        return verdict

    def _attacked(self, attack: Attack) -> Verdict:
        told = list[attacker.Told]()
        with self._neighbour.silent():
            cpu, memory = self._cost(lambda: told.append(self.play(attack, 1, 0)))
        began = time.monotonic()
        told.append(self.play(attack, attack.connections, _MANY_SECONDS))
        (once, faults), (often, later) = told
        statuses = once + often
        verdict = Verdict(cpu, memory, statuses, sorted(faults))
        verdict.faults += [fault for fault in sorted(later) if fault.startswith("status")]
        if attack.connections <= Attack.connections:  # more than an address may have are refused with 503
            verdict.late += [f"status {status}" for status in statuses if status in LATE]
        if cpu > attack.photos * self.photo:
            verdict.late.append(f"{cpu:.2f} s of CPU: {cpu / self.photo:.0f} photos of 12 megapixels")
        if memory > _MOST_BYTES:
            verdict.faults.append(f"{memory / 1e6:.0f} MB")
        self._judge_company(verdict, began)
        return verdict

    def play(self, attack: Attack, connections: int, seconds: float) -> attacker.Told:
        """By an attacker of an address of its own; what it says."""
        url = self.process.rpc_address if attack.rpc else self.process.url.removeprefix("http://")
        host, _, port = url.partition(":")
        pieces, address = tuple(attack.make()), (host, int(port), "127.0.0.2")
        played = Played(replace(attack, make=tuple), pieces, address, connections, seconds)
        self._attacker.send(played)
        told: attacker.Told = self._attacker.recv()  # no more is sent if it has ended
        return told

    def _judge_company(self, verdict: Verdict, began: float) -> None:
        if self.process.popen.poll() is not None:
            verdict.faults.append("the process ended")
            return
        seen = self._neighbour.since(began)
        if lost := Counter(each.status for each in seen if each.status != 200):
            verdict.late.append(f"the neighbour lost {dict(lost)} of {len(seen)}")
        waits = sorted(each.seconds for each in seen)
        verdict.waited = waits[len(waits) * 99 // 100]
        if (slowest := waits[-1]) > _MOST_SECONDS:
            verdict.late.append(f"the neighbour waited {slowest:.2f} s")
        until = time.monotonic() + _PATIENCE
        while (status := self._good()) != 200 and time.monotonic() < until:
            time.sleep(0.2)
        if status != 200:
            verdict.faults.append(f"the next good request: {status}")

    def close(self) -> int:
        """The exit status after SIGTERM."""
        self._neighbour.stop()
        status = self.process.stop()[0]
        self._folder.cleanup()
        return status

    def _good(self, width: int = 640, height: int = 480) -> int:
        body = good(width, height).partition(b"\r\n\r\n")[2]
        url = f"{self.process.url}/classify?labels=rocket&labels=cat"
        return int(post(url, content=body, headers={"content-type": "image/jpeg"}).status_code)

    def _cost(self, act: Callable[[], object]) -> tuple[float, int]:
        """Seconds of CPU and bytes at the peak until the process is at rest: what nobody waits for costs too."""
        before, held = measure.cpu_seconds(self.pid), measure.resident(self.pid)
        measure.forget_peak(self.pid)
        act()
        measure.wait_for_rest(self.pid)
        if self.process.popen.poll() is not None:
            return 0.0, 0
        return measure.cpu_seconds(self.pid) - before, max(0, measure.peak(self.pid) - held)
