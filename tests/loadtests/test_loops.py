"""The loops against a server that stalls, and the arithmetic of what they give."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtests import closed_loop, open_loop
from loadtests.bodies import Call, embed_text
from loadtests.load import NO_ANSWER, Answer, Load, percentile
from loadtests.process import free_port

STALL = 0.4  # seconds


class Server(ThreadingHTTPServer):
    """Answers at once with the status in the path. After `quick` requests it answers nobody for STALL seconds."""

    daemon_threads = True

    def __init__(self, quick: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.quick = quick
        self.lock = threading.Lock()

    def work(self) -> None:
        with self.lock:
            self.quick -= 1
            if self.quick == -1:
                time.sleep(STALL)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Server)
        self.server.work()
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def server(quick: int = 1_000_000) -> Iterator[str]:
    with Server(quick) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running.url
        running.shutdown()


def call(status: int = 200, *expected: int) -> Call:
    return Call(f"/{status}", b"?", "text/plain", frozenset(expected or {200}))


def answer(latency: float, status: int = 200, good: bool = True) -> Answer:
    return Answer(0.0, 0.0, latency, status, good)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([1], 0.5, 1),
        ([2, 1], 0.5, 1),
        ([3, 1, 2], 0.5, 2),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 101)), 0.07, 7),
        (list(range(1, 101)), 1.0, 100),
        (list(range(1, 102)), 0.99, 100),
    ],
)
def test_a_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_goodput_counts_what_was_expected_and_in_time() -> None:
    load = Load(
        2.0,
        [
            answer(0.1),
            answer(0.3),
            answer(0.1, 422),  # a broken image, rightly rejected
            answer(0.1, 200, good=False),  # a broken image, taken
            answer(0.01, 429, good=False),
            answer(9.0, 504, good=False),
            answer(9.0, NO_ANSWER, good=False),
        ],
        client_cpu=0.0,
    )
    assert load.goodput() == 1.5
    assert load.goodput(within=0.2) == 1.0
    assert load.refusals == [0.01]
    assert load.failed == 3


def test_an_open_loop_measures_the_wait_that_a_closed_loop_leaves_out() -> None:
    with server(quick=20) as url:
        opened = open_loop.run(url, call(), rate=100, seconds=0.7)
    with server(quick=20) as url:
        closed = closed_loop.run(url, call(), clients=1, seconds=0.6)
    waited = sum(latency > 0.1 for latency in opened.good)
    assert len(opened.answers) == 70
    assert waited > 20, "at 100/s a stall of 0.4 s keeps 40 requests waiting, 30 of them for more than 0.1 s"
    assert opened.percentile(0.8) > 0.1
    assert sum(latency > 0.1 for latency in closed.good) < 10, "of one client, one after the other"


def test_an_open_loop_keeps_its_rate() -> None:
    with server() as url:
        load = open_loop.run(url, call(), rate=200, seconds=0.3)
    due = sorted(answer.due for answer in load.answers)
    assert due == pytest.approx([number / 200 for number in range(60)])
    assert all(answer.sent >= answer.due for answer in load.answers)


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_both_loops_judge_by_what_the_request_expects(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {0: call(200), 1: call(422, 400, 422), 2: call(429), 3: call(500)}
    with server() as url:
        if loop == "open":
            load = open_loop.run(url, lambda number: kinds[number % 4], rate=200, seconds=0.2)
        else:
            monkeypatch.setattr(time, "perf_counter", itertools.count().__next__)  # a second each time
            load = closed_loop.run(url, lambda number: kinds[number % 4], clients=1, seconds=30)
            monkeypatch.undo()
    statuses = Counter(answer.status for answer in load.answers)
    assert statuses.keys() == {200, 422, 429, 500}
    assert len(load.good) == statuses[200] + statuses[422]
    assert (len(load.refusals), load.failed) == (statuses[429], statuses[500])


def test_a_server_that_is_not_there_gives_no_answers_and_no_error() -> None:
    load = closed_loop.run(f"http://127.0.0.1:{free_port()}", embed_text("a"), clients=2, seconds=0)
    assert [answer.status for answer in load.answers] == [NO_ANSWER] * 2, (
        "each client tries once, however late its thread starts"
    )
    assert load.goodput() == 0
