"""Runs cases in a process of its own, because a case may end it. `run.py` starts and watches it.

python -m tests.abuse.fuzz.worker TARGET SEED FIRST LAST STATE   the cases of these numbers
python -m tests.abuse.fuzz.worker TARGET FILE                    the case in a file
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from tests.abuse.fuzz.targets import TARGETS, Target, most_resident

MOST_SECONDS = {
    "images": 2.0,
    "formats": 2.0,
    "texts": 2.0,
    "json": 1.0,
    "forms": 1.0,
    "wire": 1.0,
    "answers": 1.0,
}  # CPU time
MOST_BYTES = 600_000_000  # beyond what the process had before
_ADDRESS_SPACE = 8 << 30  # more is refused by the kernel, not by a machine that has no more


def case_of(target: Target, seed: int, number: int) -> bytes:
    """The input of this number; the same in every run."""
    return target.case(Random(f"{seed}/{number}"))


def judged(name: str, target: Target, case: bytes) -> tuple[str, str | None]:
    """(the word for what came of it, what was wrong with it)."""
    before, started = most_resident(), time.process_time()
    try:
        word, wrong = target.run(case), None
    except Exception as error:  # whatever is no answer is what the fuzzer looks for
        at = traceback.extract_tb(error.__traceback__)[-1]
        word = f"{type(error).__name__}: {error}"[:200]
        wrong = f"{word} in {Path(at.filename).name}:{at.lineno}"
    seconds, grown = time.process_time() - started, most_resident() - before
    if wrong is None and seconds > MOST_SECONDS[name]:
        wrong = "over its time"
    if wrong is None and grown > MOST_BYTES:
        wrong = "over its memory"
    if grown > MOST_BYTES // 8:
        Path("/proc/self/clear_refs").write_text("5")  # so that the next case has its own peak
    return word, f"{wrong} ({seconds:.2f} s, {grown / 1e6:.0f} MB)" if wrong else None


def run_file(name: str, path: Path) -> int:
    """The exit status: 1 where it is a finding."""
    word, wrong = judged(name, TARGETS[name](), path.read_bytes())
    print(wrong or word)
    return 1 if wrong else 0


def run_cases(name: str, seed: int, first: int, last: int, state: Path) -> None:
    """`state`: eight bytes that hold the number of the case that runs. A line of JSON for each finding, then one of
    all words."""
    target = TARGETS[name]()
    words: Counter[str] = Counter()
    with state.open("r+b") as file, mmap.mmap(file.fileno(), 8) as running:
        for number in range(first, last):
            running[:] = number.to_bytes(8, "big")
            case = case_of(target, seed, number)
            word, wrong = judged(name, target, case)
            words[word] += 1
            if wrong:
                print(json.dumps({"number": number, "wrong": wrong}), flush=True)
    print(json.dumps({"words": words}), flush=True)


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    name, *rest = sys.argv[1:]
    if len(rest) == 1:
        return run_file(name, Path(rest[0]))
    run_cases(name, int(rest[0]), int(rest[1]), int(rest[2]), Path(rest[3]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
