"""Clients that ask one after another until the end, each a process of its own: `python -m tests.image.clients`.

In the process of the tests, which starts others all the time, gRPC's client died by a signal.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx

from service.rpc.clipserve.v1 import clip_pb2, clip_pb2_grpc

ROOT = Path(__file__).parents[2]
PHOTO = (ROOT / "docs/cat.jpg").read_bytes()


class Load:
    """Clients at `kind`s, "rest" or "grpc", of an address; `certificate`: to trust, for TLS."""

    def __init__(self, kinds: dict[str, str], certificate: Path | None = None) -> None:
        self.outcomes: Counter[str] = Counter()
        options = [] if certificate is None else [str(certificate)]
        self._clients = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.image.clients", kind, address, *options],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for kind, address in kinds.items()
            for _ in range(2)
        ]
        for client in self._clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "asking\n"

    def end(self) -> None:
        """No new requests; count what became of all."""
        for client in self._clients:
            assert client.stdin is not None
            client.stdin.close()
        for client in self._clients:
            assert client.stdout is not None
            counted = client.stdout.read()
            client.stdout.close()
            assert client.wait(60) == 0
            self.outcomes.update(json.loads(counted))
        self._clients = []


@contextmanager
def load(kinds: dict[str, str], certificate: Path | None = None) -> Iterator[Load]:
    """Two clients of each kind, which have begun."""
    made = Load(kinds, certificate)
    try:
        yield made
    finally:
        made.end()


def ask_rest(address: str, certificate: bytes | None) -> Iterator[str]:
    verify = ssl.create_default_context(cadata=certificate.decode()) if certificate else False
    with httpx.Client(base_url=address, timeout=60, verify=verify) as client:
        while True:
            try:
                headers = {"Content-Type": "image/jpeg"}
                yield f"REST {client.post('/embed', content=PHOTO, headers=headers).status_code}"
            except httpx.TransportError as error:
                yield f"REST {error!r}"


def ask_grpc(address: str, certificate: bytes | None) -> Iterator[str]:
    secure = certificate and grpc.secure_channel(address, grpc.ssl_channel_credentials(certificate))
    with secure or grpc.insecure_channel(address) as channel:
        stub = clip_pb2_grpc.ClipStub(channel)
        while True:
            try:
                stub.Embed(clip_pb2.EmbedRequest(images=[PHOTO]), timeout=60)
                yield "gRPC OK"
            except grpc.RpcError as error:
                yield f"gRPC {error.code()} {error.details()}"


def main(kind: str, address: str, certificate: str = "") -> None:
    """Ask until standard input ends; print what became of it."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    outcomes: Counter[str] = Counter()
    asked = {"rest": ask_rest, "grpc": ask_grpc}[kind]
    for outcome in asked(address, Path(certificate).read_bytes() if certificate else None):
        if not outcomes:
            print("asking", flush=True)
        outcomes[outcome] += 1
        if ended.is_set():
            break
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
