"""The comparison with peers: its arithmetic, its processes, and a whole one with the demo model."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadtests import compare
from loadtests.bodies import Call
from loadtests.peers import contestants
from loadtests.peers.chart import Bar, Panel, chart
from loadtests.peers.contestants import CannotPrepare
from loadtests.peers.report import ratio
from loadtests.peers.rounds import CONTESTS, Contest, TakeTurn, Turn, measure
from loadtests.peers.server import NotRunning, PeerServer
from loadtests.process import free_port

_DEMO = Path("service/clipserve/demo")
_PEER = """
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[1]")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""
_CALL = Call("/", b"", "text/plain")


def turns(*rates: float) -> list[dict[str, float]]:
    return [{"rate": rate} for rate in rates]


def test_the_contestants_take_turns_and_the_rehearsal_does_not_count() -> None:
    order: list[str] = []

    def scripted(name: str, *rates: float) -> TakeTurn:
        def take_turn(contest: Contest, number: int, seconds: float) -> Turn | None:
            order.append(name)
            return Turn(rates[number], p50=10.0 * number)

        return take_turn

    pair = {"a": scripted("a", 99, 1, 2, 3), "b": scripted("b", 99, 4, 5, 6)}
    results = measure(pair, CONTESTS[:1], 3, 0.1, say=lambda _: None)
    assert order == ["a", "b"] * 4
    assert [turn["rate"] for turn in results["embed"]["turns"]["b"]] == [4, 5, 6]


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The machine was ten times as fast in one round: the ratio of the medians would be 2 / 3.
    assert ratio(turns(2, 30, 2), turns(1, 20, 3)) == 1.5


def test_a_contestant_that_answers_nothing_is_infinitely_slow() -> None:
    assert ratio(turns(2), turns(0)) == math.inf


def _server(tmp_path: Path, *arguments: str) -> PeerServer:
    port = str(free_port())
    command = [sys.executable, *(argument.replace("{port}", port) for argument in arguments)]
    return PeerServer(command, {}, f"http://127.0.0.1:{port}", tmp_path / "log")


def test_a_server_without_a_turn_does_nothing_and_answers_when_it_has_one(tmp_path: Path) -> None:
    server = _server(tmp_path, "-c", _PEER, "{port}")
    try:
        assert server.wait_for_answer(_CALL) == [1]
        assert 0 < server.startup_seconds < 30
        assert server.peak_bytes() > 1e6
        server.pause()
        time.sleep(0.1)
        assert Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        server.resume()
        assert server.wait_for_answer(_CALL) == [1]
    finally:
        server.stop()
    assert not Path(f"/proc/{server.pid}").exists()


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    server = _server(tmp_path, "-c", "raise SystemExit('no weights here')")
    with pytest.raises(NotRunning, match="no weights here"):
        server.wait_for_answer(_CALL)
    server.stop()


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path) -> None:
    with pytest.raises(CannotPrepare, match=r"there is no .*nobody\.txt"):
        contestants.install("nobody", tmp_path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{Path.cwd()}/.venv/bin/python -m clipserve", ".venv/bin/python -m clipserve"),
        ("MODELS=/home/someone/models/ViT-B-32 serve", "MODELS=ViT-B-32 serve"),
        ("--out loadtests/results", "--out loadtests/results"),
        ("no answer from https://example.org/a", "no answer from (address)"),
    ],
)
def test_what_is_published_names_nothing_of_the_machine(line: str, expected: str) -> None:
    assert contestants.shown(line) == expected


def test_the_picture_is_xml_and_has_every_bar() -> None:
    text = chart("a < b", [Panel("one", [Bar("x & y", 2.0), Bar("z", 0.0)]), Panel("none", [])], "foot")
    rectangles = ElementTree.fromstring(text).findall(".//{http://www.w3.org/2000/svg}rect")
    assert len(rectangles) == 2


@pytest.mark.slow
@pytest.mark.nightly  # the tests above have its parts, and three servers take their time
def test_a_whole_comparison_of_the_demo_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path, __: Path) -> contestants.Contestant:
        raise CannotPrepare("it wants a protobuf of its own")

    # The tests' own environment has what the plain app needs.
    monkeypatch.setattr(contestants, "install", lambda *_: Path(sys.executable).parent)
    monkeypatch.setattr(compare, "PEERS", {"plain": contestants.plain, "broken": broken})
    variant = shutil.copytree(_DEMO, tmp_path / "variant", ignore=lambda *_: {"training"})
    options = ["--rounds", "1", "--seconds", "0.3", "--contest", "embed", "--contest", "classify-new"]
    done = CliRunner().invoke(
        compare.cli,
        [str(_DEMO), *options, "--variant", f"again={variant}", "--out", str(tmp_path / "results")],
    )
    assert done.exit_code == 0, done.output

    raw = json.loads((tmp_path / "results" / "compare.json").read_text())
    assert raw["skipped"] == {"broken": "it wants a protobuf of its own"}
    assert list(raw["contestants"]) == ["clipserve", "again", "plain app"]
    for name in ("clipserve", "again", "plain app"):
        assert raw["contestants"][name]["least_cosine_to_clipserve"] > 0.9999
        for contest in ("embed", "classify-new"):
            (turn,) = raw["contests"][contest]["turns"][name]
            assert turn["rate"] > 0
            assert turn["failed"] == 0
    table = (tmp_path / "results" / "compare.md").read_text()
    assert "broken did not take part: it wants a protobuf of its own" in table
    ElementTree.parse(tmp_path / "results" / "compare.svg")
