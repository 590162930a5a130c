"""gRPC of a real process: its start, its end, and what it loads."""

from __future__ import annotations

import concurrent.futures
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from clipserve.settings import Settings
from clipserve.v1 import clip_pb2, clip_pb2_grpc
from clipserve.wiring.listening import CannotListen
from clipserve.wiring.serve import serve
from loadtests.fake_backend import FakeBackend
from tests.support.process import ROOT, Process, until_admitted
from tests.support.service import DIM


def maps(process: Process) -> str:
    return Path(f"/proc/{process.popen.pid}/maps").read_text()


def test_sigterm_answers_what_is_in_flight(photos: dict[str, bytes]) -> None:
    process = Process(backend="onnx", deadline_seconds=300, drain_seconds=250)  # a busy machine needs them
    process.wait_ready()
    with grpc.insecure_channel(process.rpc_address) as channel:
        stub = clip_pb2_grpc.ClipStub(channel)

        def ask(_: int) -> int:
            try:
                return len(stub.Embed(clip_pb2.EmbedRequest(images=[photos["cat"]] * 4), timeout=300).results)
            except grpc.RpcError as error:
                return 0 if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED else -1

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask, number) for number in range(8)]
            until_admitted(process, "grpc Embed", 8, 4)
            status, _ = process.stop()
            found = {answer.result() for answer in answers}
    assert status == 0
    assert 4 in found
    assert -1 not in found, "a call in flight was dropped"


def test_calls_that_say_nothing_do_not_hold_the_end() -> None:
    process = Process(backend="onnx", drain_seconds=2)
    process.wait_ready()
    with grpc.insecure_channel(process.rpc_address) as channel:
        method = channel.stream_unary("/clipserve.v1.Clip/Embed")
        stop = concurrent.futures.Future[bytes]()
        call = method.future(iter(lambda: stop.result(), b""))
        time.sleep(0.5)
        began = time.monotonic()
        assert process.stop()[0] == 0
        assert time.monotonic() - began < 30  # it has two seconds
        stop.set_result(b"")
        assert call.exception(60)


PORTS = ("port", "operations_port", "grpc_port")


def refused(**settings: Any) -> str:
    """Why the service cannot listen."""
    chosen = Settings(decode_processes=False, **dict.fromkeys(PORTS, 0) | settings)
    with pytest.raises(CannotListen) as error:
        serve(chosen, lambda *_: FakeBackend(DIM))
    return str(error.value)


@pytest.mark.parametrize("setting", PORTS)
def test_a_taken_port_is_said(setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(**{setting: port})
    named = f"CLIPSERVE_{setting.upper()}={port}"
    assert f"{named}: cannot listen on 127.0.0.1: address already in use. Choose" in said
    assert "`clipserve doctor` says who has it" in said


def test_files_of_tls_that_are_none_are_said(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    said = refused(grpc_port=0, grpc_tls_cert_file=nothing, grpc_tls_key_file=nothing)
    assert "look at the files that CLIPSERVE_GRPC_TLS_* name" in said


def test_grpc_is_not_loaded_where_it_is_not_asked_for() -> None:
    process = Process(grpc_enabled="false", backend="onnx")
    process.wait_ready()
    assert "cygrpc" not in maps(process)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(process.rpc_address.partition(":")[2])))
    assert process.stop()[0] == 0


def test_the_program_in_the_documentation_runs_with_stubs_of_its_own(
    demo_process: Process, tmp_path: Path
) -> None:
    page = (ROOT / "docs/api.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"^python (-m grpc_tools\.protoc .*)$", page, re.MULTILINE)
    (tmp_path / "stubs").mkdir()
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    command = command.replace("-I service", f"-I {ROOT}/service")
    subprocess.run([sys.executable, *command.split()], cwd=tmp_path, check=True)
    assert "range(1000)" in program
    program = program.replace("range(1000)", "range(100)").replace("localhost:8081", demo_process.rpc_address)
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": "stubs"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    assert run.stdout == "it is a cat\n100 vectors\nseen cat\n"
