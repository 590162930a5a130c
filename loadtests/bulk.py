"""Bulk requests: what others wait beside one, how fast it is, and whether memory stays as it is."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from loadtests.load import median, percentile
from loadtests.measure import Measurement, Result
from loadtests.observe import Observer
from loadtests.process import Server
from loadtests.report import ms, table
from loadtests.scenarios import SCENARIOS
from loadtests.words import phrase

_LOAD = 0.3  # of the capacity
_MOST = 2.0  # times the latency alone
_LINES_A_PIECE = 100
_HEAD = (
    "POST /bulk?encoding_format=base64 HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\n"
    "Transfer-Encoding: chunked\r\n\r\n"
)


@dataclass(frozen=True)
class BulkRun:
    """`lines`: answered, `errors` of them without a vector. `growth`: bytes of memory, after the first tenth."""

    lines: int
    errors: int
    seconds: float
    growth: int


class BulkClient(threading.Thread):
    """Sends so many texts as lines and takes their answers."""

    def __init__(self, url: str, lines: int) -> None:
        super().__init__(daemon=True)
        parts = urlsplit(url)
        self._lines = lines
        self._socket = socket.create_connection((parts.hostname, parts.port), 60)
        self._socket.sendall(_HEAD.format(host=parts.netloc).encode())
        self.answered = self.errors = 0

    def run(self) -> None:
        threading.Thread(target=self._send, daemon=True).start()
        with self._socket, self._socket.makefile("rb") as answers:
            for line in answers:
                if line.startswith(b'{"index"'):
                    self.answered += 1
                    self.errors += b'"error"' in line

    def _send(self) -> None:
        for start in range(0, self._lines, _LINES_A_PIECE):
            count = min(_LINES_A_PIECE, self._lines - start)
            data = b"".join(json.dumps({"text": phrase(start + i)}).encode() + b"\n" for i in range(count))
            self._socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        self._socket.sendall(b"0\r\n\r\n")


def bulk(
    server: Server, lines: int, seconds: float, report: Callable[[Result], None]
) -> tuple[list[Result], BulkRun]:
    """Single images in an open loop: alone, and beside so many lines, to their end.

    Returns:
        [alone, beside...], and the bulk request.
    """
    single = Measurement(server, SCENARIOS["embed-640x480"])
    single.closed(1.0)
    capacity = single.closed(seconds)
    report(capacity)
    rate = _LOAD * capacity.load.goodput()
    results = [single.open(rate, seconds)]
    report(results[0])
    client, began = BulkClient(server.url, lines), time.monotonic()
    with Observer(server) as observer:
        client.start()
        while client.is_alive():
            results.append(single.open(rate, seconds))
            report(results[-1])
    memory = observer.observation.memory
    growth = memory[-1].rss - memory[len(memory) // 10].rss if memory else 0
    return results, BulkRun(client.answered, client.errors, time.monotonic() - began, growth)


def bulk_table(results: list[Result], run: BulkRun) -> str:
    """Medians over the rounds beside."""
    alone, *beside = results

    def row(name: str, of: list[Result]) -> list[str]:
        p50 = median(percentile(result.load.good, 0.5) for result in of)
        failed = sum(len(r.load.refusals) + r.load.failed for r in of)
        return [name, str(sum(len(r.load.good) for r in of)), ms(p50), ms(median(map(_p99, of))), str(failed)]

    ratio = median(map(_p99, beside)) / _p99(alone)
    rows = [row("single images alone", [alone]), row("beside bulk", beside)]
    said = "none was answered" if math.isnan(ratio) else f"{ratio:.2f}"
    return (
        f"{table(('', 'good', 'p50 ms', 'p99 ms', 'refused or failed'), rows)}\n\n"
        f"Ratio of the p99: {said} (target: < {_MOST:g}). {run.lines:,} lines in {run.seconds:.0f} s "
        f"({run.lines / run.seconds:,.0f} a second), {run.errors} errors; memory grew by {run.growth / 1e6:.1f} MB."
    )


def _p99(result: Result) -> float:
    return percentile(result.load.good, 0.99)
