"""Clients that ask until they are told to stop, whatever they are answered."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx

from tests.support.service import form, png

Ask = Callable[[httpx.Client, int], object]  # the number is how often this client has asked

_PICTURES = [png(seed) for seed in range(20)]
_LABELS = [{"label": "cat"}, {"label": "dog"}]


def embed(client: httpx.Client, turn: int) -> None:
    client.post("/embed", files=form([_PICTURES[turn % 20]], {"texts": f"number {turn}"}))


def classify(client: httpx.Client, turn: int) -> None:
    client.post("/classify", files=form([_PICTURES[turn % 20]], {"labels": ["cat", "dog"]}))


def use_a_label_set(client: httpx.Client, turn: int) -> None:
    """A new version of it now and then."""
    if turn % 10 == 0:
        client.put("/label-sets/pets", json={"labels": [*_LABELS, {"label": f"pet {turn}"}]})
    client.post("/classify", files=form([_PICTURES[turn % 20]], {"label_set": "pets"}))


def leave(client: httpx.Client, turn: int) -> None:
    """Before the answer."""
    client.post("/embed", files=form(_PICTURES, {}), timeout=httpx.Timeout(20, read=0.01))


def press(client: httpx.Client, turn: int) -> None:
    """Many texts, and not so many that a slow machine takes them for too many to be answered in time at all."""
    client.post("/embed", json={"texts": [f"number {turn} of {row}" for row in range(64)]})


@contextmanager
def asking(url: str, *asks: Ask, pause: float = 0.2) -> Iterator[None]:
    """A client for each, which waits so many seconds after each answer."""
    stop = threading.Event()

    def run(ask: Ask) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            for turn in itertools.count():
                with suppress(httpx.TransportError):
                    ask(client, turn)
                if stop.wait(pause):
                    return

    clients = [threading.Thread(target=run, args=[ask]) for ask in asks]
    for each in clients:
        each.start()
    try:
        yield
    finally:
        stop.set()
        for each in clients:
            each.join()
