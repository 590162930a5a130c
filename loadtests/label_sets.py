"""A large label set: how long its build takes, and what classification with it costs beside embedding."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from loadtests import closed_loop
from loadtests.bodies import Call, always, embed, json_image, photo
from loadtests.process import Server
from loadtests.words import phrases

_NAME = "load-test"
_CLIENTS = 8


@dataclass(frozen=True)
class Build:
    """`progress`: (seconds since it was put, prompts done), as was seen from outside."""

    prompts: int
    seconds: float
    progress: list[tuple[float, int]]


@dataclass(frozen=True)
class Rate:
    """Requests a second of one round: /embed of an image, and /classify of it by the set."""

    embed: float
    classify_best: float  # top_k=5
    classify_all: float


def build(server: Server, labels: int, templates: str, report: Callable[[str], None]) -> Build:
    """Put a set and wait until it is ready."""
    with httpx.Client(base_url=server.url, timeout=600) as client:
        began = time.monotonic()
        state = _json(client.put(f"/label-sets/{_NAME}", json=_definition(labels, templates)))
        progress = []
        while state["state"] == "building":
            progress.append((time.monotonic() - began, int(state["prompts_done"])))
            if len(progress) % 10 == 1:
                report(f"  {progress[-1][0]:.0f} s: {progress[-1][1]:,} of {state['prompts']:,} prompts")
            time.sleep(0.5)
            state = _json(client.get(f"/label-sets/{_NAME}"))
        if state["state"] != "ready":
            raise RuntimeError(f"the set is {state['state']}: {state.get('error')}")
        return Build(state["prompts"], time.monotonic() - began, progress)


def difference(server: Server, labels: int, templates: str) -> float:
    """The largest difference of a score to that of the same labels and templates in the request."""
    image = json_image(photo(640, 480))
    named = {"images": [image], "label_sets": [_NAME]}
    said = {"images": [image], **_definition(labels, templates)}
    with httpx.Client(base_url=server.url, timeout=600) as client:
        first, second = (_scores(client.post("/classify", json=body)) for body in (named, said))
    if first.keys() != second.keys():
        raise RuntimeError("the labels differ")
    return max(abs(first[label] - second[label]) for label in first)


def rates(server: Server, seconds: float, rounds: int, report: Callable[[str], None]) -> list[Rate]:
    """In turns: embed, classify with the best five, classify with all scores."""
    image = photo(640, 480)
    found = []
    for round_ in range(-1, rounds):  # one to warm up
        calls = [embed(image), _classify(image, top_k=5), _classify(image)]
        loads = [closed_loop.run(server.url, always(call), _CLIENTS, seconds, 0) for call in calls]
        if round_ >= 0:
            found.append(Rate(*(load.goodput() for load in loads)))
            report(
                f"  {found[-1].embed:.1f}, {found[-1].classify_best:.1f}, {found[-1].classify_all:.1f} images/s"
            )
    return found


def ratio(found: list[Rate], of: Callable[[Rate], float]) -> float:
    """The median of a rate divided by that of /embed in the same round."""
    return statistics.median(of(rate) / rate.embed for rate in found)


def _definition(labels: int, templates: str) -> dict[str, Any]:
    return {"labels": phrases(0, labels), "templates": [templates]}


def _classify(image: bytes, **options: int) -> Call:
    return Call("/classify?" + urlencode({"label_set": _NAME} | options), image, "image/jpeg")


def _scores(answer: httpx.Response) -> dict[str, float]:
    labels = _json(answer)["results"][0]["labels"]
    return {each["label"]: each["score"] for each in labels}


def _json(answer: httpx.Response) -> Any:
    if answer.is_error:
        raise RuntimeError(f"{answer.status_code}: {answer.text[:300]}")
    return answer.json()
