"""Label sets of two services on one store: when one serves what was put at the other, and how fast a start is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from loadtests.bodies import photo
from loadtests.process import Server
from loadtests.words import phrases

_LABELS = 5
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Seen:
    """Seconds of one put: until its answer, and from then until the other service served it."""

    put: float
    elsewhere: float


def seen(here: Server, there: Server, rounds: int) -> list[Seen]:
    """Put at either in turns."""
    found = []
    image = photo(320, 240)
    with (
        httpx.Client(base_url=here.url, timeout=60) as one,
        httpx.Client(base_url=there.url, timeout=60) as other,
    ):
        for number in range(rounds):
            first, second = (one, other) if number % 2 == 0 else (other, one)
            began = time.monotonic()
            version = _put(first, "shared", number)
            answered = time.monotonic()
            while _version(second, image) != version:
                if time.monotonic() - answered > _PATIENCE_SECONDS:
                    raise RuntimeError("it was not served elsewhere")
            found.append(Seen(answered - began, time.monotonic() - answered))
    return found


def fill(server: Server, sets: int) -> None:
    """Put so many sets."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for number in range(sets):
            _put(client, f"set-{number}", 1_000 + number)


def ready_sets(server: Server) -> int:
    """How many are ready now."""
    states = httpx.get(f"{server.url}/label-sets", timeout=60).json()["label_sets"]
    return sum(state["state"] == "ready" for state in states)


def _put(client: httpx.Client, name: str, number: int) -> str:
    labels: Sequence[str] = phrases(number * _LABELS, _LABELS)
    answer = client.put(f"/label-sets/{name}", json={"labels": labels})
    if answer.status_code != 200:
        raise RuntimeError(f"{answer.status_code}: {answer.text[:300]}")
    return str(answer.json()["version"])


def _version(client: httpx.Client, image: bytes) -> str | None:
    answer = client.post(
        "/classify?label_set=shared&top_k=1", content=image, headers={"Content-Type": "image/jpeg"}
    )
    return str(answer.json()["label_sets"][0]["version"]) if answer.status_code == 200 else None
