"""The measurements: every contestant in turn, in every contest, round after round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loadtests import closed_loop
from loadtests.bodies import Call, Calls, photo
from loadtests.peers.contestants import Contestant
from loadtests.peers.server import PeerServer
from loadtests.words import phrases

_ROUND = 10_000  # requests with new labels that a round may send


@dataclass(frozen=True)
class Contest:
    """What is asked. `labels`: 0 asks for the image's vector; `new`: other labels in each request."""

    name: str
    about: str
    width: int = 640
    height: int = 480
    clients: int = 8
    labels: int = 0
    new: bool = False


CONTESTS = (
    Contest("embed", "vector of a 640 x 480 JPEG, 8 clients"),
    Contest("embed-alone", "vector of a 640 x 480 JPEG, 1 client", clients=1),
    Contest("embed-12mp", "vector of a 4000 x 3000 JPEG, 8 clients", 4000, 3000),
    Contest("classify-warm", "10 labels, always the same, 8 clients", labels=10),
    Contest("classify-new", "10 labels, new in each request, 8 clients", labels=10, new=True),
)


@dataclass(frozen=True)
class Turn:
    """One measurement. `rate` in right answers a second; `p50` and `p95` in milliseconds, None without requests."""

    rate: float
    p50: float | None = None
    p95: float | None = None
    answered: int = 0
    failed: int = 0


class Participant(Protocol):
    """Someone who takes turns."""

    @property
    def name(self) -> str: ...

    def turn(self, contest: Contest, number: int, seconds: float) -> Turn | None:
        """Measure; `number` is the round's, 0 the rehearsal. None: it cannot do this."""


@dataclass(frozen=True)
class Loop:
    """The bare engine loop: no server, so no latency, and only the plain contest."""

    name: str
    measure: Callable[[float], float]

    def turn(self, contest: Contest, number: int, seconds: float) -> Turn | None:  # noqa: ARG002
        return Turn(self.measure(seconds)) if contest.name == "embed" else None


@dataclass
class Served:
    """A contestant that runs. `photos`: by width and height; `cosines`: of its vectors of them to clipserve's."""

    contestant: Contestant
    server: PeerServer
    photos: dict[tuple[int, int], bytes]
    vectors: list[list[float]] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.contestant.name

    def turn(self, contest: Contest, number: int, seconds: float) -> Turn | None:
        calls = self._calls(contest)
        if calls is None:
            return None
        first = number * _ROUND
        self.server.resume()
        try:
            # One request to come out of the pause, and for the labels that are to be known.
            closed_loop.run(self.server.url, calls, 1, 0.01, first + _ROUND // 2)
            load = closed_loop.run(self.server.url, calls, contest.clients, seconds, first)
        finally:
            self.server.pause()
        good = len(load.good)
        p50, p95 = (1000 * load.percentile(share) for share in (0.5, 0.95)) if good else (None, None)
        return Turn(good / load.seconds, p50, p95, good, len(load.answers) - good)

    def _calls(self, contest: Contest) -> Call | Calls | None:
        image = self.photos[contest.width, contest.height]
        classify = self.contestant.classify
        if not contest.labels:
            return self.contestant.embed(image)
        if classify is None:
            return None
        count = contest.labels
        if not contest.new:
            return classify(image, phrases(0, count))
        return lambda number: classify(image, phrases(count * (number + 1), count))


def photographs(contests: Sequence[Contest]) -> dict[tuple[int, int], bytes]:
    """The JPEG of every size, by width and height."""
    sizes = {(640, 480)} | {(contest.width, contest.height) for contest in contests}
    return {size: photo(*size) for size in sizes}


@dataclass
class Results:
    """All turns by contest and contestant, in the order of rounds; every list of a contest is as long."""

    turns: dict[str, dict[str, list[Turn]]] = field(default_factory=dict)

    def rate(self, contest: str, name: str) -> float:
        """Median, right answers a second."""
        return statistics.median(turn.rate for turn in self.turns[contest][name])

    def p50(self, contest: str, name: str) -> float | None:
        """Median of the rounds' medians, milliseconds."""
        found = [turn.p50 for turn in self.turns[contest][name] if turn.p50 is not None]
        return statistics.median(found) if found else None

    def ratio(self, contest: str, first: str, second: str) -> float:
        """Median of each round's rate of `first` over that of `second`; infinite where `second` answers nothing."""
        pairs = zip(self.turns[contest][first], self.turns[contest][second], strict=True)
        return statistics.median(a.rate / b.rate if b.rate else float("inf") for a, b in pairs)


def measure(
    participants: Sequence[Participant],
    contests: Sequence[Contest],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> Results:
    """A short rehearsal that is not counted, then the rounds: A B C D, A B C D, ... in each contest."""
    results = Results()
    for number in range(rounds + 1):
        for contest in contests:
            for participant in participants:
                turn = participant.turn(contest, number, seconds if number else min(1.0, seconds))
                if turn is None or not number:
                    continue
                results.turns.setdefault(contest.name, {}).setdefault(participant.name, []).append(turn)
                failed = f", {turn.failed} FAILED" if turn.failed else ""
                say(f"round {number}: {contest.name}: {participant.name}: {turn.rate:.2f}/s{failed}")
    return results
