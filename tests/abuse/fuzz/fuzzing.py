"""Runs cases of a target by Hypothesis, which makes a finding small, and judges what comes of each."""

from __future__ import annotations

import resource
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.abuse.fuzz.targets import Fault, Target, most_resident

MOST_SECONDS, MOST_BYTES = 2.0, 600_000_000  # CPU time; memory beyond what the process had before
_ADDRESS_SPACE = 8 << 30  # beyond the present: the kernel refuses more, before a machine has no more
_AT_ONCE = 10_000  # cases of a search by Hypothesis, which remembers all of them


def judged(target: Target, case: bytes) -> str:
    """The word for what came of it.

    Raises:
        Exception: whatever is no answer, `Fault` among it: over its time or memory, or what the target says.
    """
    before, started = most_resident(), time.process_time()
    word = target.run(case)
    seconds, grown = time.process_time() - started, most_resident() - before
    if grown > MOST_BYTES // 8:
        Path("/proc/self/clear_refs").write_text("5")  # so that the next case has its own peak
    if seconds > MOST_SECONDS or grown > MOST_BYTES:
        raise Fault(f"{word} after {seconds:.2f} s of CPU time and {grown / 1e6:.0f} MB")
    return word


def fuzz(name: str, target: Target, executions: int, other_cases: bool = False) -> Counter[str]:
    """How often each word came. Without `other_cases` the cases are the same each time.

    A case that ends the process or takes ten times what it may, which ends it too, is left in a file, as is the
    smallest one that raises something: fuzz-NAME in the folder of temporary files.
    """
    words = Counter[str]()
    running = Path(tempfile.gettempdir(), f"fuzz-{name}")

    @given(target.cases)
    def run(case: bytes) -> None:
        running.write_bytes(case)
        signal.setitimer(signal.ITIMER_PROF, 10 * MOST_SECONDS)
        words[judged(target, case)] += 1

    with _confined():
        while words.total() < executions:
            before = words.total()
            settings(
                max_examples=min(executions - before, _AT_ONCE),
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
                derandomize=not other_cases,
                database=None,
                deadline=None,
            )(run)()
            if not other_cases or words.total() == before:
                break
    running.unlink(missing_ok=True)
    return words


@contextmanager
def _confined() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (present + _ADDRESS_SPACE, limits[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
