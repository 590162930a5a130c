"""The measurements: every contestant in turn, in every contest, round after round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtests import closed_loop
from loadtests.bodies import Call, Calls
from loadtests.peers.contestants import Contestant
from loadtests.peers.server import PeerServer
from loadtests.scenarios import phrases

_ROUND = 10_000  # the most requests with new labels in a round


@dataclass(frozen=True)
class Contest:
    """The requests of a contest. `labels`: 0 asks for the image's vector; `new`: other labels in each request."""

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
    """One measurement. `rate`: good answers a second; `p50` and `p95` in milliseconds, None without requests."""

    rate: float
    p50: float | None = None
    p95: float | None = None
    answered: int = 0
    failed: int = 0


# (contest, round, seconds) -> turn of a participant; round 0 is the rehearsal. None: it does not support the
# contest.
TakeTurn = Callable[[Contest, int, float], Turn | None]


def bare(measure: Callable[[float], float]) -> TakeTurn:
    """Turns of a loop without a server: only the plain contest, without latency. `measure`: seconds -> rate."""
    return lambda contest, _, seconds: Turn(measure(seconds)) if contest.name == "embed" else None


@dataclass
class Served:
    """A running contestant. `photos`: by width and height; `cosines`: its vectors of them with clipserve's."""

    contestant: Contestant
    server: PeerServer
    photos: dict[tuple[int, int], bytes]
    vectors: list[list[float]] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)

    def turn(self, contest: Contest, number: int, seconds: float) -> Turn | None:
        """Run a closed loop; the server is stopped before and after."""
        calls = self._calls(contest)
        if calls is None:
            return None
        first = number * _ROUND
        self.server.resume()
        try:
            # One request to leave the pause, and to fill the cache of labels.
            closed_loop.run(self.server.url, calls, 1, 0.01, first + _ROUND // 2)
            load = closed_loop.run(self.server.url, calls, contest.clients, seconds, first)
        finally:
            self.server.pause()
        good = len(load.good)
        p50, p95 = (round(1000 * load.percentile(at), 3) for at in (0.5, 0.95)) if good else (None, None)
        return Turn(round(good / load.seconds, 3), p50, p95, good, len(load.answers) - good)

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


def measure(
    participants: Mapping[str, TakeTurn],
    contests: Sequence[Contest],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run a short rehearsal, which does not count, then the rounds: A B C D, A B C D, ... in each contest.

    Returns:
        contest -> its description, `about`, and the `turns` of each participant, in the order of rounds.
    """
    results: dict[str, Any] = {}
    for number in range(rounds + 1):
        for contest in contests:
            for name, take_turn in participants.items():
                turn = take_turn(contest, number, seconds if number else min(1.0, seconds))
                if turn is None or not number:
                    continue
                own = results.setdefault(contest.name, {"about": contest.about, "turns": {}})["turns"]
                own.setdefault(name, []).append(asdict(turn))
                failed = f", {turn.failed} FAILED" if turn.failed else ""
                say(f"round {number}: {contest.name}: {name}: {turn.rate:.2f}/s{failed}")
    return results
