"""The comparison with other servers: its arithmetic, its processes, and a whole one with the demo model."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipserve.demo import FOLDER as DEMO
from loadtests import compare
from loadtests.__main__ import cli
from loadtests.bodies import Call
from loadtests.compare import Served, serving
from loadtests.contestants import Contestant, variant
from loadtests.process import running
from loadtests.turns import interleaved
from tests.support.process import waited_until

_PEER = """
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[1]")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""


def contestant(*command: str) -> Contestant:
    def embed(_: bytes) -> Call:
        return Call("/", b"", "text/plain")

    return Contestant((sys.executable, *command), {}, lambda answer: list(answer), embed=embed)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_contestants_take_turns_and_the_rehearsal_does_not_count() -> None:
    order: list[str] = []
    rates = {"a": iter([99.0, 1, 2, 3]), "b": iter([99.0, 4, 5, 6])}

    def loop(name: str) -> float:
        order.append(name)
        return next(rates[name])

    found = interleaved({"a": lambda _: loop("a"), "b": lambda _: loop("b")}, 0.1, 3, float)
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"], "every second round in the other order"
    assert found == {"a": [1, 2, 3], "b": [4, 5, 6]}


def test_a_server_without_a_turn_does_nothing_and_answers_when_it_has_one() -> None:
    with serving("echo", contestant("-c", _PEER, "{port}"), [b""]) as served:
        served.judged([b""], None)
        assert served.vectors == [[1]]
        assert 0 < served.seconds < compare._START_SECONDS
        served.signal(signal.SIGSTOP)
        waited_until(lambda: state(served.pid) == "T")
        load = served.turn(compare.CONTESTS["embed-alone"], b"", 0.1)
        assert load.goodput() > 0
    assert not Path(f"/proc/{served.pid}").exists()


def test_a_server_that_computes_something_else_is_not_compared() -> None:
    with serving("echo", contestant("-c", _PEER, "{port}"), [b""]) as served:
        other = Served(served.contestant, "", 0, 0.0, vectors=[[-1.0]])
        with pytest.raises(SystemExit, match=r"have a cosine of -1\.00000 to clipserve's"):
            served.judged([b""], other)


def test_a_server_that_ends_before_it_answers_is_told() -> None:
    broken = contestant("-c", "raise SystemExit('no weights here')")
    with (
        pytest.raises(SystemExit, match="broken ended before it was ready"),
        serving("broken", broken, [b""]),
    ):
        pass


def test_a_server_that_does_not_get_ready_is_told() -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        pytest.raises(SystemExit, match=r"it was not ready within 0\.1 s"),
        running(sleeper, "it", lambda: False, 0.1),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--variant", "fp32"], "is not NAME=ARTIFACT"),
        (["--peer", "nobody"], "'nobody' is none of plain, infinity"),
        (["--peer", "infinity"], "--weights has those that it was exported from"),
    ],
)
def test_a_contestant_that_is_not_known_is_refused(
    options: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "installed", lambda *_: Path())
    refused = CliRunner().invoke(cli, ["compare", str(DEMO), *options], env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert reason in refused.output


def test_a_variant_has_settings_of_its_own() -> None:
    name, made = variant("fp32 scaled=models/ViT,backend=onnx,scaled_decode=true")
    assert name == "fp32 scaled"
    assert made.environment["CLIPSERVE_MODELS"] == "models/ViT"
    assert made.environment["CLIPSERVE_SCALED_DECODE"] == "true"


@pytest.mark.slow
@pytest.mark.nightly  # the tests above have its parts, and three servers take their time
def test_a_whole_comparison_of_the_demo_model(monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests' own environment has what the plain app needs.
    monkeypatch.setattr(compare, "installed", lambda *_: Path(sys.executable).parent)
    few = ["--rounds", "1", "--seconds", "0.3", "--contest", "embed", "--contest", "classify-new"]
    options = ["--peer", "plain", "--variant", f"again={DEMO}"]
    done = CliRunner().invoke(cli, ["compare", str(DEMO), *few, *options])
    assert done.exit_code == 0, done.output
    text = done.output
    for about in (compare.CONTESTS["embed"].about, compare.CONTESTS["classify-new"].about):
        rows = re.findall(rf"^\| {about} \| ([\w ]+) \| ([\d.]+) \| .* \| 0 \|$", text, re.MULTILINE)
        assert [name for name, _ in rows] == ["clipserve", "again", "plain"]
        assert all(float(rate) > 0 for _, rate in rows)
    cosines = re.findall(r"^\| [\w ]+ \| [\d.]+ s \| [\d,]+ MB \| ([\d.]+) \|$", text, re.MULTILINE)
    assert len(cosines) == 3
    assert all(float(cosine) > 0.9999 for cosine in cosines)
