"""Where the nodes of a graph run, and how large its transformer is, as onnxruntime's own profile says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipserve.engine.cuda import PROVIDER
from loadtests.gpu_bare.findings import Line
from loadtests.gpu_bare.inputs import Feeds
from loadtests.gpu_bare.sessions import Variant, run, temporary

Events = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Tower:
    """A transformer: `layers` of `width`, over `tokens` of an input."""

    width: int
    layers: int
    tokens: int


def profiled(variant: Variant, graph: str, feeds: Feeds) -> Events:
    """What each node's `args` say of one call: op_name, provider, input_type_shape."""
    with temporary() as folder:
        session = variant.session(graph, Path(folder))
        run(session, feeds)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return [
        event["args"]
        for event in events
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    ]


def placed(variant: Variant, tower: str, events: Events) -> Iterator[Line]:
    """Nodes on the GPU and on the CPU, and copies between the two."""
    if not variant.cuda:
        yield Line(variant.name, f"{tower}, nodes on the CPU", str(len(events)))
        return
    copies = sum("Memcpy" in event["op_name"] for event in events)
    on_gpu = sum(event["provider"] == PROVIDER for event in events)
    on_cpu = Counter(event["op_name"] for event in events if event["provider"] != PROVIDER)
    named = ", ".join(f"{name} {count}" for name, count in on_cpu.most_common())
    yield Line(variant.name, f"{tower}, nodes on the GPU", str(on_gpu), "> 0", on_gpu > 0)
    yield Line(variant.name, f"{tower}, nodes on the CPU", f"{on_cpu.total()} ({named or 'none'})")
    yield Line(variant.name, f"{tower}, copies between the two (Memcpy nodes)", str(copies))


def tower_of(events: Events) -> Tower | None:
    """The transformer in the profile; None where the graph has none that can be recognized.

    Products of [N, tokens, width] are four in a layer: three read `width` numbers a token, one reads 4 x `width`.
    """
    seen: Counter[tuple[int, int]] = Counter()
    for event in events:
        inputs: list[dict[str, list[int]]] = event.get("input_type_shape") or [{}]
        shape = next(iter(inputs[0].values()), [])
        if "MatMul" in event["op_name"] and len(shape) == 3:
            seen[shape[1], shape[2]] += 1
    for (tokens, width), _ in seen.most_common():
        if layers := seen[tokens, 4 * width]:
            return Tower(width, layers, tokens)
    return None
