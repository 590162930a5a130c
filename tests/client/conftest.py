"""The three clients of the Python API around the demo model, each as an object whose methods wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import clipserve
from tests.support.process import Process


class Awaited:
    """An AsyncClient, in a loop that runs while a method is waited for."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = clipserve.AsyncClient(url, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


CLIENTS: dict[str, Callable[..., Any]] = {"Client": clipserve.Client, "AsyncClient": Awaited}


@contextmanager
def client_of(kind: str, url: str, **options: Any) -> Iterator[Any]:
    """Of `CLIENTS`."""
    client = CLIENTS[kind](url, **options)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(scope="session")
def demo(demo_process: Process) -> str:
    return demo_process.url


@pytest.fixture(scope="session")
def in_process() -> Iterator[clipserve.Clip]:
    with clipserve.Clip(backend="onnx") as clip:
        yield clip
