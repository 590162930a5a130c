"""Two real gateways behind a real HAProxy with the configuration of deploy/: one address for whichever is there."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from clipserve.v1 import clip_pb2, clip_pb2_grpc
from loadtests.observe import parse
from loadtests.process import free_port
from tests.support.edge import CONFIGURATION, Replica, edge, on_loopback
from tests.support.fake_triton import FakeTriton, fake_triton
from tests.support.process import PATIENT_WITH_TRITON, ROOT, Process, get, post, waited_until
from tests.support.service import png, write_toy_artifact

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("haproxy"), reason="needs Debian's package haproxy"),
]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeTriton]:
    """It answers at once, with the artifact of the toy model."""
    toy = asyncio.run(write_toy_artifact(tmp_path_factory.mktemp("artifact") / "toy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        with fake_triton(toy) as running:
            yield running


@pytest.fixture
def gateways(triton: FakeTriton) -> Iterator[list[Process]]:
    settings = {"backend": "triton", "triton_url": triton.url, "decode_processes": "false"}
    settings |= {"models": str(triton.artifact), "drain_delay_seconds": "3000"}
    made = [Process(**settings, **PATIENT_WITH_TRITON) for _ in range(2)]
    for each in made:
        each.wait_ready()
    yield made
    for each in made:
        each.popen.kill()
        each.popen.wait()


@pytest.fixture
def address(gateways: list[Process], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """host:port of the edge in front of them."""
    monkeypatch.chdir(ROOT)
    with edge([replica(each) for each in gateways]) as address:
        yield address


def replica(process: Process) -> Replica:
    addresses = (process.url, f"//{process.rpc_address}", process.operations_url)
    return Replica(*(urlsplit(each).port or 0 for each in addresses))


def ask(address: str) -> int:
    headers = {"content-type": "image/png"}
    return post(f"http://{address}/embed", content=png(), headers=headers).status_code


def ask_by_grpc(address: str) -> int:
    """How many results there are."""
    with grpc.insecure_channel(address) as channel:
        stub = clip_pb2_grpc.ClipStub(channel)
        return len(stub.Embed(clip_pb2.EmbedRequest(texts=["a cat"]), timeout=60).results)


def asked(process: Process) -> float:
    """Requests to /embed that it has counted."""
    page = parse(get(process.operations_url + "/metrics").text)
    return sum(
        value
        for (name, labels), value in page.items()
        if name == "clipserve_requests_total" and ("endpoint", "/embed") in labels
    )


def test_haproxy_has_no_warning_about_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(
        on_loopback((ROOT / CONFIGURATION).read_text(), [Replica(1, 2, 3)], free_port(), free_port())
    )
    done = subprocess.run(["haproxy", "-dW", "-c", "-f", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_both_gateways_answer_rest_and_grpc_on_one_port(gateways: list[Process], address: str) -> None:
    waited_until(lambda: ask(address) == 200 and min(map(asked, gateways)) > 0)
    waited_until(lambda: not failed_by_grpc(address))
    assert ask_by_grpc(address) == 1


def failed_by_grpc(address: str) -> bool:
    """Until the edge has asked for gRPC's sake too."""
    try:
        return not ask_by_grpc(address)
    except grpc.RpcError:
        return True


def test_while_one_gateway_is_replaced_the_other_answers_every_request(
    gateways: list[Process], address: str
) -> None:
    waited_until(lambda: ask(address) == 200 and min(map(asked, gateways)) > 0)
    ending, staying = gateways
    before, outcomes = asked(staying), Counter[int]()

    def set_aside() -> bool:
        """Whether of ten requests none came to it: the edge lets two that are ready take turns."""
        earlier = asked(ending)
        outcomes.update(ask(address) for _ in range(10))
        return asked(ending) == earlier

    waited_until(lambda: not set_aside())
    ending.popen.send_signal(signal.SIGTERM)
    waited_until(set_aside)
    ending.popen.send_signal(signal.SIGTERM)  # the delay, which a busy edge may need all of, is over
    while ending.popen.poll() is None:
        outcomes[ask(address)] += 1
    assert ending.ended()[0] == 0
    outcomes += Counter(ask(address) for _ in range(5))
    assert set(outcomes) == {200}, outcomes
    assert asked(staying) > before


def test_when_no_gateway_is_left_the_edge_says_so(gateways: list[Process], address: str) -> None:
    for each in gateways:
        each.popen.kill()
        each.popen.wait()
    waited_until(lambda: ask(address) == 503)
    answer = post(f"http://{address}/embed", content=png())
    assert answer.json()["code"] == "backend_unavailable"
    assert answer.headers["retry-after"] == "1"
