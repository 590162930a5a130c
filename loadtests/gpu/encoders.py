"""Checks encoders in process: vectors, the placement of nodes, and rows a second beside the engine's maximum."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime as ort

from clipserve.engine.cuda import PROVIDER, PROVIDER_OPTIONS
from loadtests.closed_loop import calls_per_second
from loadtests.gpu.agreement import Encoder, compared
from loadtests.gpu.findings import Findings, Line
from loadtests.gpu.inputs import Case, Feeds, part
from loadtests.gpu.rates import Plan
from loadtests.gpu.sessions import Bound, Variant, run

Events = Sequence[dict[str, Any]]


def vectors(findings: Findings, variant: Variant, case: Case, plan: Plan) -> None:
    """Check the provider's options, and vectors against the CPU's."""
    session = variant.session(case.graph)
    findings.add_each(_options(variant, case.name, session))
    encoder = Encoder(variant.precision, variant.precision, partial(run, session))
    findings.add_each(compared(encoder, case, plan.sizes))


def rates(findings: Findings, variant: Variant, case: Case, plan: Plan) -> None:
    """Measure rows a second for each number of rows (longer texts: the fewest and the most), and check claims."""
    session, found = variant.session(case.graph), dict[int, dict[str, float]]()
    short = case.name in ("image", "text of 16 tokens")
    for rows in plan.sizes if short else sorted({1, max(plan.sizes)}):
        feeds = part(case.feeds, rows)
        calls = _calls_per_second(session, feeds, plan.seconds, cuda=variant.cuda)
        found[rows] = {f"{name}/s": rows * rate for name, rate in calls.items()}
        findings.add_speed(encoder=variant.precision, what=case.name, rows=rows, **found[rows])
    if variant.cuda:
        largest, of = max(found), variant.precision
        for what, one, other in (
            (f"{largest} rows in a call against one", found[largest]["run/s"], found[1]["run/s"]),
            ("two calls at a time against one", found[largest]["two at a time/s"], found[largest]["run/s"]),
        ):
            findings.add(Line(of, f"{case.name}, {what}", f"{one / other:.2f}", "> 1", one > other))


def nodes(findings: Findings, variant: Variant, case: Case) -> None:
    """Check where nodes run."""
    findings.add_each(placed(variant, case.name, profiled(variant, case.graph, part(case.feeds, 2))))


def _calls_per_second(
    session: ort.InferenceSession, feeds: Feeds, seconds: float, *, cuda: bool
) -> dict[str, float]:
    """Rates as in the service, one and two calls at a time; and with bound memory, the maximum without copies."""
    bound = Bound(session, feeds, cuda=cuda)
    return {
        "run": calls_per_second(lambda: run(session, feeds), seconds),
        "two at a time": calls_per_second(lambda: run(session, feeds), seconds, threads=2),
        "IOBinding": calls_per_second(bound.with_copies, seconds),
        "without copies": calls_per_second(bound.compute_only, seconds),
    }


def profiled(variant: Variant, graph: str, feeds: Feeds) -> Events:
    """The `args` of each node in one call: op_name, provider."""
    with tempfile.TemporaryDirectory() as folder:
        session = variant.session(graph, Path(folder))
        run(session, feeds)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return [
        event["args"]
        for event in events
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    ]


def placed(variant: Variant, name: str, events: Events) -> Iterator[Line]:
    """The numbers of nodes on the GPU and on the CPU, and of copies between them."""
    of = variant.precision
    on_cpu = Counter(event["op_name"] for event in events if event["provider"] != PROVIDER)
    named = ", ".join(f"{op} {times}" for op, times in on_cpu.most_common())
    if variant.cuda:
        on_gpu = len(events) - on_cpu.total()
        copies = sum("Memcpy" in event["op_name"] for event in events)
        yield Line(of, f"{name}, nodes on the GPU", str(on_gpu), "> 0", on_gpu > 0)
        yield Line(of, f"{name}, copies between the two (Memcpy nodes)", str(copies))
    yield Line(of, f"{name}, nodes on the CPU", f"{on_cpu.total()} ({named or 'none'})")


def _options(variant: Variant, name: str, session: ort.InferenceSession) -> Iterator[Line]:
    """Compare the provider's options with the requested ones."""
    if variant.cuda:
        has: dict[str, Any] = session.get_provider_options()[PROVIDER]
        wrong = [f"{key}={has.get(key)}" for key, value in PROVIDER_OPTIONS.items() if has.get(key) != value]
        told = ", ".join(f"{key}={value}" for key, value in PROVIDER_OPTIONS.items())
        yield Line(variant.precision, f"{name}, options", ", ".join(wrong) or "as asked", told, not wrong)
