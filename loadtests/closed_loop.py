"""A closed loop: a number of clients, each sending its next request when it has the answer to the last.

The clients are threads on the standard library's HTTP client with connections kept open: about 0.2 ms of CPU a
request, so at the few dozen requests a second that a CPU model gives they do not matter. `Load.client_cpu` says
what they took.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from loadtests.bodies import Call


@dataclass(frozen=True)
class Load:
    """What a run gave. Latencies in seconds, of answered requests; `client_cpu` in CPU seconds a request."""

    seconds: float
    latencies: list[float]
    statuses: Counter[int]
    client_cpu: float

    @property
    def rate(self) -> float:
        """Requests a second answered with 200."""
        return self.statuses[200] / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds; `share` of the requests were at least as fast."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(url: str, call: Call, clients: int, seconds: float) -> Load:
    """Send `call` from `clients` connections for `seconds`."""
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    lock = threading.Lock()
    deadline = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        own, seen = [], []
        while (started := time.perf_counter()) < deadline:
            connection.request("POST", call.path, call.body, {"Content-Type": call.content_type})
            answer = connection.getresponse()
            answer.read()
            own.append(time.perf_counter() - started)
            seen.append(answer.status)
        connection.close()
        with lock:
            latencies.extend(own)
            statuses.update(seen)

    cpu, started = time.process_time(), time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    return Load(elapsed, latencies, statuses, (time.process_time() - cpu) / max(1, len(latencies)))
