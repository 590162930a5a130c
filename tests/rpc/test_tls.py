"""The gRPC port encrypted, and open only to clients with a certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from clipserve.v1 import clip_pb2, clip_pb2_grpc
from loadtests.fake_backend import FakeBackend
from tests.certificates import self_signed
from tests.support import DIM, serving


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates, each signed by itself: `server`, `client` and `stranger`; NAME.key and NAME.pem."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client", "stranger"):
        self_signed(folder, name)
    return folder


async def embed(address: str, files: Path, client: str | None = None) -> Any:
    """With the certificate of a client, if it has one."""
    pair = (
        [(files / f"{client}{ending}").read_bytes() for ending in (".key", ".pem")] if client else [None] * 2
    )
    credentials = grpc.ssl_channel_credentials((files / "server.pem").read_bytes(), *pair)
    port = address.rpartition(":")[2]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        return await clip_pb2_grpc.ClipStub(channel).Embed(clip_pb2.EmbedRequest(texts=["a"]), timeout=60)


async def test_calls_are_encrypted_where_there_is_a_certificate(toy: Path, files: Path) -> None:
    tls: dict[str, Any] = {
        "grpc_tls_cert_file": files / "server.pem",
        "grpc_tls_key_file": files / "server.key",
    }
    async with serving(FakeBackend(DIM), toy, grpc_enabled=True, **tls) as running:
        assert len((await embed(running.rpc_address, files)).results) == 1
        async with grpc.aio.insecure_channel(running.rpc_address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await clip_pb2_grpc.ClipStub(channel).Embed(clip_pb2.EmbedRequest(texts=["a"]), timeout=60)


async def test_only_clients_with_a_certificate_are_answered_where_one_is_asked_for(
    toy: Path, files: Path
) -> None:
    tls: dict[str, Any] = {
        "grpc_tls_cert_file": files / "server.pem",
        "grpc_tls_key_file": files / "server.key",
        "grpc_tls_client_ca_file": files / "client.pem",
    }
    async with serving(FakeBackend(DIM), toy, grpc_enabled=True, **tls) as running:
        assert len((await embed(running.rpc_address, files, "client")).results) == 1
        for other in (None, "stranger"):
            with pytest.raises(grpc.aio.AioRpcError):
                await embed(running.rpc_address, files, other)
