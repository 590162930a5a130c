"""Break the code in many places, one at a time, and count what the fast tests notice.

    python -m tests.mutants                            400 mutants of the layers where answers are made
    python -m tests.mutants --of clip --tests tests/clip   those of one layer, by its tests alone
    python -m tests.mutants --beside OTHER             only mutants that the checkout OTHER has too
    python -m tests.mutants --survivors-of now.json    of another commit: which of them these tests kill
    python -m tests.mutants --layers                   one broken promise of each layer (tests/mutants/layers.py)

One run under coverage tells which tests run which line; a mutant meets the 150 nearest of its line's.
To see what a change of the tests lost, run the new commit `--beside` the old one, then the old commit with
`--survivors-of` what the first run wrote to `--out`: what it kills was lost.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from coverage import CoverageData

from tests.mutants import layers
from tests.mutants.mutate import Mutant, mutants_of
from tests.mutants.run import exit_status

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".mutants"
PACKAGE = "service/clipserve"
FIRST = 30  # tests that are tried first
MOST = 150  # tests that a mutant meets: what so many do not notice is a survivor
LAYERS = ["api", "application", "engine", "clip", "rest", "rpc", "access"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--of", nargs="+", default=LAYERS, help="layers of the service, or files in them")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="folders or files of tests")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--marker", default="", help="-m of the fast tests (make mutants gives it)")
    parser.add_argument("--out", type=Path, default=WORK / "mutants.json")
    parser.add_argument("--beside", type=Path, default=ROOT, help="another checkout that has the mutants too")
    parser.add_argument("--survivors-of", type=Path, help="what --out of another commit wrote")
    parser.add_argument("--layers", action="store_true")
    asked = parser.parse_args()
    if asked.layers:
        with tempfile.TemporaryDirectory() as folder:
            layers.show(ROOT, copied(Path(folder)), asked.marker)
        return
    WORK.mkdir(exist_ok=True)
    if asked.survivors_of:
        killed_there = json.loads(asked.survivors_of.read_text())
        keys = {key for key, dead in killed_there.items() if not dead}
    else:
        keys = {mutant.key for mutant in every_mutant(asked.beside, asked.of)}
    mutants = [mutant for mutant in every_mutant(ROOT, asked.of) if mutant.key in keys]
    chosen = sorted(mutants, key=lambda mutant: mutant.digest(asked.seed))[: asked.count]
    results = run_all(chosen, tests_of_lines(asked.marker, asked.tests, asked.workers), asked.workers)
    asked.out.write_text(json.dumps(results, indent=1))
    print(f"{sum(results.values())} of {len(results)} mutants were killed")


def every_mutant(checkout: Path, layers_of: list[str]) -> Iterator[Mutant]:
    for layer in layers_of:
        place = checkout / PACKAGE / layer
        for path in sorted(place.rglob("*.py")) or [place]:
            yield from mutants_of(checkout, str(path.relative_to(checkout)))


def tracked(*folders: str) -> list[str]:
    """Paths of files that are committed."""
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return listed.stdout.decode().split("\0")[:-1]


def tests_of_lines(marker: str, among: list[str], workers: int) -> CoverageData:
    """For each line those of these tests that run it, measured once for a state of the code."""
    state = hashlib.sha256("\n".join(among).encode())
    for path in tracked("service", "models", "tests"):
        state.update((ROOT / path).read_bytes())
    file = WORK / f"{state.hexdigest()[:16]}.coverage"
    if not file.exists():
        environment = os.environ | {"COVERAGE_FILE": str(WORK / "part")}
        tests = [
            "-m",
            "pytest",
            "-p",
            "tests.mutants.contexts",
            "-n",
            str(workers),
            "-q",
            "-m",
            marker,
            *among,
        ]
        subprocess.run(
            [sys.executable, "-m", "coverage", "run", *tests], cwd=ROOT, env=environment, check=True
        )
        parts = map(str, WORK.glob("part.*"))
        combine = [sys.executable, "-m", "coverage", "combine", "--quiet", f"--data-file={file}", *parts]
        subprocess.run(combine, cwd=ROOT, check=True)
    data = CoverageData(str(file))
    data.read()
    return data


def run_all(mutants: list[Mutant], data: CoverageData, workers: int) -> dict[str, bool]:
    """By the key of each mutant whether it was killed."""
    copies: SimpleQueue[Path] = SimpleQueue()
    tests = [tests_of(mutant, data) for mutant in mutants]

    def run(mutant: Mutant, tests: list[str]) -> bool:
        copy = copies.get()
        try:
            return killed(mutant, copy, tests)
        finally:
            copies.put(copy)

    results = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        for number in range(workers):
            copies.put(copied(Path(folder) / str(number)))
        unchanged = copies.get()
        if exit_status(unchanged, sorted({test for some in tests for test in some}), "--collect-only"):
            sys.exit("the tests cannot be collected in a copy of the checkout")
        copies.put(unchanged)
        for mutant, dead in zip(mutants, pool.map(run, mutants, tests), strict=True):
            results[mutant.key] = dead
            print("killed  " if dead else "SURVIVED", f"line {mutant.line}", mutant.key, flush=True)
    return results


def tests_of(mutant: Mutant, data: CoverageData) -> list[str]:
    """Tests that run its line, or its file if only another process runs the line; those of its folder first."""
    by_line = data.contexts_by_lineno(str(ROOT / mutant.path))
    near = "tests/" + mutant.path.removeprefix(PACKAGE + "/").split("/")[0]
    tests = set(by_line.get(mutant.line, [])) - {""} or set().union(*by_line.values()) - {""}
    return sorted(tests, key=lambda test: (not test.startswith(near), hashlib.sha256(test.encode()).digest()))


def copied(folder: Path) -> Path:
    """`folder`, with what is committed and the compiled extension."""
    extensions = (str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).rglob("*.so"))
    for path in (*tracked(), *extensions):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    return folder


def killed(mutant: Mutant, copy: Path, tests: list[str]) -> bool:
    file = copy / mutant.path
    source = file.read_bytes()
    file.write_bytes(mutant.apply(source))
    try:
        groups = [some for some in (tests[:FIRST], tests[FIRST:MOST]) if some]
        # Twice: a test may fail for reasons of its own.
        return any(exit_status(copy, some) and exit_status(copy, some) for some in groups)
    finally:
        file.write_bytes(source)


if __name__ == "__main__":
    main()
