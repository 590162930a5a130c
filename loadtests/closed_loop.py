"""A closed loop: a number of clients, each of which sends its next request after the answer to the last.

It measures capacity. It says little about latency: a server that stalls also stops the clients, so the requests
that would have waited are never sent. `open_loop` measures latency.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import closing

from loadtests.bodies import Calls
from loadtests.client import Client
from loadtests.load import NO_ANSWER, Answer, Load

_WARM, _LEAST = 2, 3  # calls
_PAUSE = 0.1  # seconds after a refusal: without a pause the server would only refuse


def run(url: str, calls: Calls, clients: int, seconds: float, first: int = 0) -> Load:
    """Send requests from `clients` connections for `seconds`, each one at least.

    `calls`: the request of each number, counted from `first`.
    """
    numbers = itertools.count(first)  # shared: taking one is a single step of the interpreter
    answers: list[Answer] = []

    def client() -> None:
        with closing(Client(url)) as connection:
            over = False
            while not over:  # one at least, however late this thread has started
                prepared = calls(next(numbers))
                sent = time.perf_counter() - started
                status = connection.send(prepared)
                latency = time.perf_counter() - started - sent
                answer = Answer(sent, sent, latency, status, status in prepared.expected)
                answers.append(answer)
                if answer.refused or status == NO_ANSWER:
                    time.sleep(_PAUSE)
                over = time.perf_counter() - started >= seconds

    cpu, started = time.process_time(), time.perf_counter()
    together(client, clients)
    elapsed = time.perf_counter() - started
    return Load(elapsed, answers, (time.process_time() - cpu) / max(1, len(answers)))


def calls_per_second(call: Callable[[], object], seconds: float, threads: int = 1) -> float:
    """The rate of all threads together, each of which does one call after the other."""
    for _ in range(_WARM):
        call()
    calls: list[None] = []  # appending is a single step of the interpreter
    began = time.perf_counter()

    def loop() -> None:
        own = 0
        while own < _LEAST or time.perf_counter() - began < seconds:
            call()
            calls.append(None)
            own += 1

    together(loop, threads)
    return len(calls) / (time.perf_counter() - began)


def together(work: Callable[[], None], count: int) -> None:
    """Run `work` in `count` threads and wait for them."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
