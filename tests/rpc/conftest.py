"""A running service on arithmetic encoders that speaks gRPC, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.fake_backend import FakeBackend
from tests.rpc.client import Client, client_of
from tests.support.service import DIM, Running, serving


@pytest.fixture
async def running(toy: Path) -> AsyncIterator[Running]:
    async with serving(FakeBackend(DIM), toy, grpc_enabled=True) as running:
        yield running


@pytest.fixture
async def client(running: Running) -> AsyncIterator[Client]:
    async with client_of(running.rpc_address) as client:
        yield client
