"""Plays an attack on a victim, and says what is below the bar."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clipserve.cores import usable_cores
from tests.abuse.answers import Answer
from tests.abuse.attack import Attack, Piece
from tests.abuse.loops import loops
from tests.abuse.probe import Probe, most_seconds, percentile
from tests.abuse.scenario import good_clients, seen_for
from tests.abuse.victim import Cost, Victim, play_attack
from tests.abuse.wire import Played

TIMES = 100  # what an attack may cost, in good requests of its bytes
MOST_LIVEZ_SECONDS = 0.25
MOST_SECONDS = 60  # an unfinished request may last
NOTHING = Cost(0.0, 0)
_LATE = (429, 503, 504)  # what a machine that is busy with other things brings too
_CLIENTS = 8
_LOOPS_SECONDS = 5.0
_MOST_LOST = 0.05  # of another address
# Its p99, and at least so many times what it has alone; on a quiet machine it is below a second:
# tests/external/abuse/test_one_address.py
_MOST_LOOPS_SECONDS, _MOST_TIMES_ALONE = 10.0, 20
_PATIENCE = 60  # seconds: until a busy server has seen that a bulk client has left


@dataclass
class Verdict:
    """What one attack did. `cpu` and `memory`: times a good request of as many bytes; `livez` in seconds.

    `slow`: what was only too slow, or refused because something was.
    """

    attack: Attack
    faults: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    cost: Cost = NOTHING
    cpu: float = 0.0
    memory: float = 0.0
    died: bool = False
    seconds: float = 0.0
    sent: int = 0
    livez: float = 0.0
    livez_of_many: float | None = None


def attacked(victim: Victim, attack: Attack, many_seconds: float = 0.0) -> Verdict:
    """Attack once, and then with eight clients for so many seconds.

    Where it was only slow, one of two more times must be fast: pauses of the machine's own do not come each time.
    """
    pieces = tuple(attack.make())

    def once() -> Verdict:
        verdict = _beside(victim, attack) if attack.loops else _attacked(victim, attack, pieces, many_seconds)
        verdict.faults += verdict.slow
        return verdict

    verdict = once()
    for _ in range(2):
        if verdict.faults and verdict.faults == verdict.slow:
            print(f"{attack.id}, at first: {verdict.faults}")
            verdict = once()
    return verdict


def outlived(victim: Victim, attack: Attack, many_seconds: float) -> Verdict:
    """Attack likewise; what it costs is not measured."""
    pieces, verdict = tuple(attack.make()), Verdict(attack)
    victim.refresh()
    _count(verdict, _play(victim, attack, pieces, attack.patience))
    for each in _play_many(victim, attack, pieces, many_seconds):
        _count(verdict, each)
    _judge_afterwards(verdict, victim, patient=True)
    verdict.faults += verdict.slow
    return verdict


def _attacked(victim: Victim, attack: Attack, pieces: tuple[Piece, ...], many_seconds: float) -> Verdict:
    victim.refresh()
    verdict = Verdict(attack)
    played: list[Played] = []
    started = time.monotonic()
    verdict.cost = victim.cost(lambda: played.append(_play(victim, attack, pieces, attack.patience)))
    verdict.livez = _livez(victim, verdict, started, "one client")
    verdict.seconds, verdict.sent = played[0].seconds, played[0].sent
    _judge_answers(verdict, played[0])
    _judge_costs(verdict, victim, played[0])
    if many_seconds:
        started = time.monotonic()
        for each in _play_many(victim, attack, pieces, many_seconds):
            _count(verdict, each)
        verdict.livez_of_many = _livez(victim, verdict, started, f"{_CLIENTS} clients")
    _judge_afterwards(verdict, victim, patient=bool(many_seconds))
    return verdict


def _beside(victim: Victim, attack: Attack) -> Verdict:
    """Attack from one address while another asks for the same, and judge what the other sees."""
    assert attack.loops
    count, route = attack.loops
    victim.refresh()
    verdict = Verdict(attack)
    with good_clients(victim.address, 1, route) as clients:
        alone = seen_for(clients, 1.0)
        with loops(victim.address, count, route, "127.0.0.2"):
            started = time.monotonic()
            company = seen_for(clients, _LOOPS_SECONDS)
            verdict.livez = _livez(victim, verdict, started, f"{count} connections in loops")
            verdict.slow.clear()  # its time is that of the other address
    verdict.seconds, verdict.statuses = time.monotonic() - started, company.statuses
    if not company.probes or company.lost > _MOST_LOST:
        verdict.slow.append(f"another address lost {company.lost:.0%} of {len(company.probes)}")
    if company.p99 >= max(_MOST_LOOPS_SECONDS, _MOST_TIMES_ALONE * alone.p99):
        verdict.slow.append(f"another address waited {company.p99:.2f} s, and {alone.p99:.2f} s alone")
    _judge_afterwards(verdict, victim, patient=True)
    return verdict


def _play(victim: Victim, attack: Attack, pieces: Sequence[Piece], seconds: float) -> Played:
    return play_attack(victim.process, attack, pieces, seconds)


def _play_many(victim: Victim, attack: Attack, pieces: Sequence[Piece], seconds: float) -> list[Played]:
    played: list[Played] = []
    until = time.monotonic() + seconds

    def client() -> None:
        while (left := until - time.monotonic()) > 0:
            played.append(_play(victim, attack, pieces, max(left, 0.5)))

    threads = [threading.Thread(target=client) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return played


def _livez(victim: Victim, verdict: Verdict, started: float, by: str) -> float:
    probes: list[Probe] = victim.prober.between(started, time.monotonic())
    if failed := sum(probe.status != 200 for probe in probes):
        verdict.faults.append(f"{failed} of {len(probes)} of /livez failed beside {by}")
    p99 = percentile([probe.seconds for probe in probes])
    if p99 >= most_seconds(probes, MOST_LIVEZ_SECONDS):
        verdict.slow.append(f"/livez took {p99 * 1000:.0f} ms beside {by}")
    return p99


def _count(verdict: Verdict, played: Played) -> None:
    verdict.statuses.update(answer.status for answer in played.answers)
    wrong = Counter(answer.status for answer in played.answers if answer.status >= 500)
    for status in sorted(wrong):
        (verdict.slow if status in _LATE else verdict.faults).append(f"status {status}")


def _judge_answers(verdict: Verdict, played: Played) -> None:
    _count(verdict, played)
    attack = verdict.attack
    if not played.answers and not attack.silent:
        (verdict.faults if played.closed else verdict.slow).append("no answer")
    if not played.answers and not played.closed and played.seconds > MOST_SECONDS:
        verdict.faults.append(f"the server does not end it in {played.seconds:.0f} s")
    for answer in played.answers:
        if fault := _fault_of(answer, attack):
            verdict.faults.append(fault)
            break


def _fault_of(answer: Answer, attack: Attack) -> str | None:
    if answer.status >= 500:
        return None  # counted
    if answer.status < 400:
        return None if attack.legal and answer.status == 200 else f"status {answer.status}"
    if attack.rpc:  # to what is no call, gRPC's library may say nothing
        return None if answer.body or attack.silent else f"status {answer.status} without a message"
    if answer.content_type not in ("application/problem+json", "application/json"):
        return f"status {answer.status} as {answer.content_type or 'nothing'}"
    if attack.bodiless:
        return None
    try:
        body = json.loads(answer.body)
    except ValueError:
        return f"status {answer.status} without JSON"
    if answer.content_type == "application/json":  # an error as other servers' clients know it
        error = body.get("error")
        told = bool(error and (error if isinstance(error, dict) else body).get("code"))
    else:
        told = body.get("status") == answer.status and bool(body.get("code") and body.get("detail"))
    return None if told else f"status {answer.status} without a code"


def _judge_costs(verdict: Verdict, victim: Victim, played: Played) -> None:
    if verdict.cost == NOTHING:
        return  # as of a process that has ended
    cost, same = verdict.cost, _like(verdict, victim, played)
    if cost.cpu > TIMES * same.cpu:  # or the machine was faster when the good request was measured
        victim.forget_costs()
        same = _like(verdict, victim, played)
    verdict.cpu, verdict.memory = cost.cpu / same.cpu, cost.memory / max(1, same.memory)
    if cost.cpu > TIMES * same.cpu and cost.cpu > victim.photo_cost.cpu:
        verdict.faults.append(f"{cost.cpu:.2f} s of CPU: {verdict.cpu:.0f} times a good request")
    images = usable_cores() if verdict.attack.concurrent else 1  # so many decoders there are
    if cost.memory > TIMES * same.memory * images and cost.memory > victim.photo_cost.memory:
        verdict.faults.append(f"{cost.memory / 1e6:.0f} MB: {verdict.memory:.0f} times a good request")


def _like(verdict: Verdict, victim: Victim, played: Played) -> Cost:
    """What good requests of as many bytes cost."""
    if verdict.attack.labels:
        return victim.labels_cost
    requests = max(verdict.attack.requests, len(played.answers))
    alone = victim.good_cost(played.sent // requests)
    return Cost(alone.cpu * requests, alone.memory)


def _judge_afterwards(verdict: Verdict, victim: Victim, patient: bool) -> None:
    """`patient`: what is queued may be answered first."""
    if not victim.alive():
        verdict.died = True
        verdict.faults.append("the process ended")
        return
    for what, ask, seconds in (
        ("good", victim.send_good, _PATIENCE if patient else 0),
        ("bulk", victim.send_bulk, _PATIENCE),
    ):
        if (status := _refused(ask, seconds)) is not None:
            (verdict.slow if status in _LATE else verdict.faults).append(f"the next {what} request: {status}")


def _refused(ask: Callable[[], Played], seconds: float) -> int | None:
    """The status, 0 without an answer, if there is no 200 within so many seconds."""
    until = time.monotonic() + seconds
    while True:
        answers = ask().answers
        status = answers[0].status if answers else 0
        if status == 200:
            return None
        if time.monotonic() >= until or status != 429:
            return status
        time.sleep(0.2)
