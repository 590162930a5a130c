"""Clients that ask one after another until the end, each a process `python -m tests.external.image.clients`.

One that is ended by a fault of its library is then an outcome like others, and not the end of the tests.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError

from clipserve.v1 import clip_pb2

ROOT = Path(__file__).parents[3]
PHOTO = (ROOT / "docs/cat.jpg").read_bytes()


class Load:
    """Clients at `kind`s, "rest" or "grpc", of an address; `certificate`: to trust, for TLS."""

    def __init__(self, kinds: dict[str, str], certificate: Path | None = None) -> None:
        self.outcomes: Counter[str] = Counter()
        options = [] if certificate is None else [str(certificate)]
        self._clients = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.external.image.clients", kind, address, *options],
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
            if (status := client.wait(60)) == 0:
                self.outcomes.update(json.loads(counted))
            else:
                self.outcomes[f"a client ended with {status}"] += 1
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
    """With grpclib. The client of grpcio 1.85.3 dies where servers behind an edge leave, of a segmentation fault or
    of its own check (call_combiner.cc:144, `prev_size >= 1`).
    """
    host, _, port = address.rpartition(":")
    trusted = ssl.create_default_context(cadata=certificate.decode()) if certificate else None
    if trusted:
        trusted.set_alpn_protocols(["h2"])
    with asyncio.Runner() as runner:

        async def connected() -> Channel:
            return Channel(host, int(port), ssl=trusted)  # it belongs to the loop that runs

        channel = runner.run(connected())
        embed = UnaryUnaryMethod(
            channel, "/clipserve.v1.Clip/Embed", clip_pb2.EmbedRequest, clip_pb2.EmbedResponse
        )
        while True:
            try:
                runner.run(_answer(embed))
                yield "gRPC OK"
            except (GRPCError, StreamTerminatedError, OSError, TimeoutError) as error:
                yield f"gRPC {error!r}"


async def _answer(embed: UnaryUnaryMethod[clip_pb2.EmbedRequest, clip_pb2.EmbedResponse]) -> None:
    await embed(clip_pb2.EmbedRequest(images=[PHOTO]), timeout=60)


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
