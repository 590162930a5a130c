"""The gRPC port encrypted, and open only to clients with a certificate."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest

from loadtests.fake_backend import FakeBackend
from tests.rpc.client import Client, Refused
from tests.support.certificates import self_signed
from tests.support.service import DIM, serving


@pytest.mark.parametrize(
    ("authority", "answered", "refused"),
    [
        pytest.param(None, ["nobody"], ["unencrypted"], id="encrypted"),
        pytest.param(
            "client.pem", ["client"], ["unencrypted", "nobody", "stranger"], id="and for clients alone"
        ),
    ],
)
async def test_a_port_with_a_certificate_answers_encrypted_calls_of_those_that_it_is_open_to(
    toy: Path, tmp_path: Path, authority: str | None, answered: list[str], refused: list[str]
) -> None:
    for name in ("server", "client", "stranger"):  # each signed by itself
        self_signed(tmp_path, name)
    server = tmp_path / "server.pem"
    tls: dict[str, Any] = {"grpc_tls_cert_file": server, "grpc_tls_key_file": tmp_path / "server.key"}
    if authority:
        tls["grpc_tls_client_ca_file"] = tmp_path / authority

    async def embedded(address: str, client: str) -> int:
        pair = [tmp_path / f"{client}{ending}" for ending in (".key", ".pem")]
        own = [file.read_bytes() for file in pair] if pair[0].exists() else []
        credentials = grpc.ssl_channel_credentials(server.read_bytes(), *own)
        channel = grpc.aio.secure_channel(f"localhost:{address.rpartition(':')[2]}", credentials)
        if client == "unencrypted":
            channel = grpc.aio.insecure_channel(address)
        async with channel:
            return len((await Client(channel).call("Embed", texts=["a"]))["results"])

    async with serving(FakeBackend(DIM), toy, grpc_enabled=True, **tls) as running:
        for client in answered:
            assert await embedded(running.rpc_address, client) == 1
        for client in refused:
            with pytest.raises(Refused):
                await embedded(running.rpc_address, client)


async def test_a_certificate_that_is_renewed_is_that_of_the_next_connection(
    toy: Path, tmp_path: Path
) -> None:
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    first, second = (self_signed(tmp_path, name) for name in ("first", "second"))

    async def presented(port: int) -> str:
        return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=60)

    cert.write_bytes(first.read_bytes())
    key.write_bytes(first.with_suffix(".key").read_bytes())
    files: dict[str, Any] = {"grpc_tls_cert_file": cert, "grpc_tls_key_file": key}
    async with serving(FakeBackend(DIM), toy, grpc_enabled=True, **files) as running:
        port = int(running.rpc_address.rpartition(":")[2])
        assert await presented(port) == first.read_text()
        cert.write_bytes(second.read_bytes())
        for _ in range(2):
            assert await presented(port) == first.read_text(), "the key does not fit yet"
        key.write_bytes(second.with_suffix(".key").read_bytes())
        assert await presented(port) == second.read_text()
        cert.unlink()
        assert await presented(port) == second.read_text()
