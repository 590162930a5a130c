"""`python -m loadtests compare`: this service beside others on one machine, with the same weights.

Each server has its own environment and process; all take turns, so that a slower machine slows all of them. Without
a turn a server is stopped (SIGSTOP), so that it takes no CPU time by spinning or timers. Read the ratios.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from loadtests import bodies, closed_loop
from loadtests.bodies import Call
from loadtests.client import ask
from loadtests.commands import Artifact, Rounds, Seconds
from loadtests.contestants import PEERS, Contestant, clipserve, installed, variant
from loadtests.load import Load
from loadtests.observe import Others, bytes_of_all, process_tree
from loadtests.process import free_port, running
from loadtests.report import command, machine_facts, table, tell
from loadtests.scenarios import phrases
from loadtests.turns import interleaved, turns_table

_START_SECONDS = 240.0
_TURN = 10_000  # the most requests with new labels in a turn


@dataclass(frozen=True)
class Contest:
    """The requests of a contest. `labels`: 0 asks for the image's vector; `new`: other labels in each request."""

    about: str
    size: tuple[int, int] = (640, 480)
    clients: int = 8
    labels: int = 0
    new: bool = False


CONTESTS = {
    "embed": Contest("vector of a 640 x 480 JPEG, 8 clients"),
    "embed-alone": Contest("vector of a 640 x 480 JPEG, 1 client", clients=1),
    "embed-12mp": Contest("vector of a 4000 x 3000 JPEG, 8 clients", (4000, 3000)),
    "classify-warm": Contest("10 labels, always the same, 8 clients", labels=10),
    "classify-new": Contest("10 labels, new in each request, 8 clients", labels=10, new=True),
}


@dataclass
class Served:
    """A contestant that runs. `seconds`: from its start to its first answer. `cosine`: see `judged`."""

    contestant: Contestant
    url: str
    pid: int
    seconds: float
    turns: int = 0
    vectors: list[list[float]] = field(default_factory=list)
    cosine: float = 1.0

    def turn(self, contest: Contest, image: bytes, seconds: float) -> Load:
        """Run a closed loop; the server is stopped before and after."""
        self.turns += 1
        self.signal(signal.SIGCONT)
        try:
            calls = partial(self._call, contest, image, self.turns * _TURN)
            closed_loop.run(self.url, calls, 1, 0.01, _TURN // 2)  # it leaves the pause, and fills its caches
            return closed_loop.run(self.url, calls, contest.clients, seconds)
        finally:
            self.signal(signal.SIGSTOP)

    def _call(self, contest: Contest, image: bytes, first: int, number: int) -> Call:
        if not contest.labels or self.contestant.classify is None:
            return self.contestant.embed(image)
        start = contest.labels * (first + number + 1) if contest.new else 0
        return self.contestant.classify(image, phrases(start, contest.labels))

    def judged(self, images: Sequence[bytes], reference: Served | None) -> None:
        """Compare vectors with the reference's. Raises SystemExit if it computes something else."""
        asked = [ask(self.url, self.contestant.embed(image)) for image in images]
        self.vectors = [self.contestant.vector(answer) for answer in asked]
        ours, theirs = (np.array(each.vectors) for each in (self, reference or self))
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        self.cosine = float(((ours * theirs).sum(axis=1) / norms).min())
        if self.cosine < self.contestant.least_cosine:
            raise SystemExit(f"vectors of {self.url} have a cosine of {self.cosine:.5f} to clipserve's")

    def signal(self, number: signal.Signals) -> None:
        """Stop it, or let it go on: it and its descendants."""
        for member in process_tree(self.pid):
            with suppress(ProcessLookupError):
                os.kill(member, number)


@contextmanager
def serving(name: str, contestant: Contestant, images: Sequence[bytes]) -> Iterator[Served]:
    """Run a contestant until the block ends; it has answered about the first image when the block begins."""
    port, began = str(free_port()), time.perf_counter()
    url = f"http://127.0.0.1:{port}"
    words = [part.replace("{port}", port) for part in contestant.command]
    environment = {key: value.replace("{port}", port) for key, value in contestant.environment.items()}

    def answers() -> bool:
        return bool(ask(url, contestant.embed(images[0])))

    tell(f"starting {name}")
    # In the same session, so that Linux shares the cores fairly.
    with running(words, name, answers, _START_SECONDS, env=os.environ | environment) as pid:
        served = Served(contestant, url, pid, time.perf_counter() - began)
        try:
            yield served
        finally:
            served.signal(signal.SIGCONT)


def compare(
    artifact: Artifact,
    peer: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(PEERS)}; repeated.")] = None,
    weights: Annotated[str, typer.Option(help="The folder or repository of its weights, for infinity.")] = "",
    variants: Annotated[list[str] | None, typer.Option("--variant", help=variant.__doc__)] = None,
    contest: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(CONTESTS)}. All.")] = None,
    rounds: Rounds = 5,
    seconds: Seconds = 3.0,
    environments: Annotated[Path, typer.Option(help="The peers' virtual environments.")] = Path(".peers"),
) -> None:
    """Throughput and latency of clipserve and its peers, interleaved."""
    contests = {name: about for name, about in CONTESTS.items() if not contest or name in contest}
    images = {size: bodies.photo(*size) for size in {(640, 480), *(each.size for each in contests.values())}}
    contestants = {"clipserve": clipserve(str(artifact)), **dict(map(variant, variants or ()))}
    for name in peer or ():
        if name not in PEERS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(PEERS)}")
        contestants[name] = PEERS[name](installed(name, environments), artifact, weights)
    with ExitStack() as stack:
        served: dict[str, Served] = {}
        for name, contestant in contestants.items():
            served[name] = stack.enter_context(serving(name, contestant, [*images.values()]))
            served[name].judged([*images.values()], next(iter(served.values())))
            served[name].signal(signal.SIGSTOP)
        others, measured = Others(), {}
        for each in contests.values():
            loops = {
                name: partial(one.turn, each, images[each.size])
                for name, one in served.items()
                if one.contestant.classify or not each.labels
            }
            measured[each.about] = interleaved(loops, seconds, rounds, Load.goodput)
        parts = [turns_table("server", measured), _servers(served), others.warning()]
    conditions = table(("", ""), {"command": command(), **machine_facts()}.items())
    typer.echo("\n\n".join([*filter(None, parts), conditions]))


def _servers(served: Mapping[str, Served]) -> str:
    rows = [
        [name, f"{one.seconds:.1f} s", f"{bytes_of_all(one.pid, 'VmHWM') / 1e6:,.0f} MB", f"{one.cosine:.5f}"]
        for name, one in served.items()
    ]
    return table(("", "first answer after", "peak memory", "cosine to clipserve"), rows)
