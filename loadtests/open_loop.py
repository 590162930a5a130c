"""An open loop: sends requests at a fixed rate, whether or not earlier ones are answered.

Latency counts from the time at which a request was due. If a server stalls, the requests due meanwhile wait too,
and their wait is measured, not omitted ("coordinated omission").

One thread keeps the time and gives each due request to a pool that grows while requests are unanswered. If all its
threads wait for answers, requests are sent late, which `Load.lag` shows.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from loadtests.bodies import Call, Calls
from loadtests.client import Client
from loadtests.load import Answer, Load


def run(url: str, calls: Calls, rate: float, seconds: float, first: int = 0, connections: int = 256) -> Load:
    """Send `rate` requests a second for `seconds`, evenly spaced; at most `connections` at a time.

    `calls`: the request of each number, counted from `first`.
    """
    total = max(1, round(rate * seconds))
    answers: list[Answer] = []
    idle: list[Client] = []  # a stack: few connections, which stay open

    def send(prepared: Call, due: float) -> None:
        sent = time.perf_counter() - started
        try:
            client = idle.pop()
        except IndexError:
            client = Client(url)
        status = client.send(prepared)
        latency = time.perf_counter() - started - due
        idle.append(client)
        answers.append(Answer(due, sent, latency, status, status in prepared.expected))

    cpu, started = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        for number in range(total):
            due = number / rate
            prepared = calls(first + number)
            time.sleep(max(0.0, started + due - time.perf_counter()))
            pool.submit(send, prepared, due)
    elapsed = time.perf_counter() - started
    assert len(answers) == total, "the pool swallowed an error"
    for client in idle:
        client.close()
    return Load(elapsed, answers, (time.process_time() - cpu) / total)
