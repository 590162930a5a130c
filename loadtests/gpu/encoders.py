"""Checks encoders in process: vectors, the placement of nodes, and rows a second beside the engine's maximum.

`compared` compares the vectors of any encoder, here or on Triton, with the CPU's in fp32 for each number of rows.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from clipserve.clip.reference import MIN_COSINE
from clipserve.engine.backend import Embeddings
from clipserve.engine.cuda import PROVIDER, PROVIDER_OPTIONS
from loadtests.closed_loop import calls_per_second
from loadtests.gpu.findings import Findings, Line, at_least
from loadtests.gpu.inputs import Case, Feeds, count, part
from loadtests.gpu.rates import Plan
from loadtests.gpu.sessions import Bound, Variant, run

Events = Sequence[dict[str, Any]]
FP32, FP16 = 0.99999, 0.9999  # the lowest cosine; the mean of cosines
_ALONE = 7


@dataclass(frozen=True)
class Encoder:
    """An encoder to check. `precision`: fp32 or fp16."""

    name: str
    precision: str
    compute: Callable[[Feeds], Embeddings]  # one call


def cosines(one: Embeddings, other: Embeddings) -> npt.NDArray[np.float64]:
    """The cosine of each row and the same row: [N], in double precision; NaN if a value is not finite."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(all="ignore"):
        found = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return np.asarray(found, np.float64)


def judged(encoder: Encoder, what: str, found: npt.NDArray[np.float64]) -> Iterator[Line]:
    """The findings about cosines: the lowest, and for fp16 the mean too."""
    bound = FP32 if encoder.precision == "fp32" else MIN_COSINE[encoder.precision]
    yield at_least(encoder.name, f"{what}, lowest cosine", float(found.min()), bound)
    if encoder.precision != "fp32":
        yield at_least(encoder.name, f"{what}, mean cosine", float(found.mean()), FP16)


def compared(encoder: Encoder, case: Case, sizes: Sequence[int]) -> Iterator[Line]:
    """A line for each number of rows, for single rows against the largest batch, and for the export's vectors."""
    together = case.expected
    for rows in sizes:
        together = encoder.compute(part(case.feeds, rows))
        found = cosines(together, case.expected[:rows])
        yield from judged(encoder, f"{case.name}, {rows} rows against the CPU", found)
    each = [encoder.compute(part(case.feeds, 1, n)) for n in range(min(_ALONE, len(together)))]
    found = cosines(np.concatenate(each), together[: len(each)])
    yield from judged(encoder, f"{case.name}, alone against in a batch", found)
    if case.exported:
        feeds, stored = case.exported
        lowest, bound = float(cosines(encoder.compute(feeds), stored).min()), MIN_COSINE[encoder.precision]
        yield at_least(encoder.name, f"{case.name}, against the export, lowest cosine", lowest, bound)


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
            with findings.trying(variant.precision, f"{case.name}, CUDA graph of {rows} rows"):
                findings.add_each(graphed(variant, case, rows, calls["without copies"], plan.seconds))
    if variant.cuda:
        largest, of = max(found), variant.precision
        for what, one, other in (
            (f"{largest} rows in a call against one", found[largest]["run/s"], found[1]["run/s"]),
            ("two calls at a time against one", found[largest]["two at a time/s"], found[largest]["run/s"]),
        ):
            findings.add(Line(of, f"{case.name}, {what}", f"{one / other:.2f}", "> 1", one > other))


def graphed(variant: Variant, case: Case, rows: int, calls: float, seconds: float) -> Iterator[Line]:
    """Check a call as a CUDA graph: it is faster than without, `calls` a second, and sees new inputs."""
    what = f"{case.name}, CUDA graph of {rows} rows"
    bound = Bound(variant.session(case.graph, cuda_graph=True), part(case.feeds, rows), cuda=variant.cuda)
    ratio = calls_per_second(bound.compute_only, seconds) / calls
    yield Line(variant.precision, f"{what} against none", f"{ratio:.2f}", "> 1", ratio > 1)
    vectors = bound.with_copies(part(case.feeds, rows, count(case.feeds) - rows))
    encoder = Encoder(variant.precision, variant.precision, bound.with_copies)
    yield from judged(encoder, what, cosines(vectors, case.expected[-rows:]))


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
        "IOBinding": calls_per_second(lambda: bound.with_copies(feeds), seconds),
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
