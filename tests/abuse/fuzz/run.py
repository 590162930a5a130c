"""Fuzzes all targets: starts workers, sees those that die or hang, keeps what they found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.abuse.fuzz.targets import TARGETS
from tests.abuse.fuzz.worker import MOST_SECONDS, case_of
from tests.abuse.measure import cpu_seconds

WORKER = (sys.executable, "-m", "tests.abuse.fuzz.worker")
_SHRINKS = 60  # tries; each starts a process


@dataclass
class Fuzzed:
    """`words`: how often each outcome came; `findings`: what was wrong -> the numbers of its cases."""

    name: str
    executions: int = 0
    cpu_seconds: float = 0.0
    words: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[int]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Executions in a second of CPU time."""
        return self.executions / max(self.cpu_seconds, 1e-9)

    def found(self, number: int, wrong: str) -> None:
        kind = re.sub(r" \(.*", "", re.sub(r"\d+", "N", wrong))
        self.findings.setdefault(kind, []).append(number)


def fuzz(name: str, seed: int, executions: int, seconds: float = 1e9) -> Fuzzed:
    """Run the cases 0 to `executions` of a target; none begins later than in so many seconds."""
    result, number, until = Fuzzed(name), 0, time.monotonic() + seconds
    while number < executions and time.monotonic() < until:
        number = _run_worker(result, seed, number, min(executions, number + 50_000))
    result.executions = number
    return result


def _run_worker(result: Fuzzed, seed: int, first: int, last: int) -> int:
    """The number of the first case that was not run."""
    with tempfile.TemporaryDirectory() as folder:
        state, output = Path(folder, "state"), Path(folder, "output")
        state.write_bytes(first.to_bytes(8, "big"))
        with output.open("wb") as out, Path(folder, "errors").open("wb") as errors:
            command = [*WORKER, result.name, str(seed), str(first), str(last), str(state)]
            worker = subprocess.Popen(command, stdout=out, stderr=errors)
            hung = _watch(result, worker, state)
        finished = False
        for line in output.read_text().splitlines():
            told = json.loads(line)
            if "words" in told:
                result.words.update(told["words"])
                finished = True
            else:
                result.found(told["number"], told["wrong"])
        if finished:
            return last
        number = int.from_bytes(state.read_bytes(), "big")
        said = Path(folder, "errors").read_text()[-300:]
        result.found(number, "hangs" if hung else f"ends the process: {worker.returncode} {said}")
        return number + 1


def _watch(result: Fuzzed, worker: subprocess.Popen[bytes], state: Path) -> bool:
    """Wait for the end of the worker. True: it was killed, because a case took ten times what it may."""
    number, since, used = b"", 0.0, 0.0
    while worker.poll() is None:
        time.sleep(0.2)
        try:
            used = cpu_seconds(worker.pid)
        except OSError:
            break
        if (now := state.read_bytes()) != number:
            number, since = now, used
        elif used - since > 10 * MOST_SECONDS[result.name]:
            worker.kill()
            worker.wait()
            return True
    worker.wait()
    result.cpu_seconds += used
    return False


def keep(result: Fuzzed, seed: int, folder: Path) -> list[Path]:
    """Write a case of each kind of finding into `folder`, as short as it can be made in a few tries."""
    kept = []
    target = TARGETS[result.name]()
    for kind, numbers in result.findings.items():
        case = case_of(target, seed, numbers[0])
        if kind != "hangs":  # each try of a case that hangs takes its time
            case = shrunk(case, lambda data: _fails(result.name, data))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{result.name}-{seed}-{numbers[0]}"
        path.write_bytes(case)
        kept.append(path)
    return kept


def shrunk(case: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """The case without pieces that it fails without: halves, then quarters, and so on."""
    tries, size = 0, len(case) // 2
    while size and tries < _SHRINKS:
        at = 0
        while at < len(case) and tries < _SHRINKS:
            tries += 1
            shorter = case[:at] + case[at + size :]
            if fails(shorter):
                case = shorter
            else:
                at += size
        size //= 2
    return case


def _fails(name: str, case: bytes) -> bool:
    with tempfile.NamedTemporaryFile() as file:
        file.write(case)
        file.flush()
        try:
            done = subprocess.run([*WORKER, name, file.name], capture_output=True, timeout=30, check=False)
        except subprocess.TimeoutExpired:
            return True
    return done.returncode != 0
