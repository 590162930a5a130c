"""A picture of runs: latency of every request, and the server's memory. The only file that needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from loadtests.measure import Result

_KINDS = (("good", "tab:blue"), ("refused", "tab:orange"), ("failed", "tab:red"))


def plot(results: Sequence[Result], path: Path) -> Path:
    """One line of pictures a run, written to `path` as PNG."""
    figure = Figure(figsize=(12, 2.6 * len(results) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(results), 3, squeeze=False)
    for (over_time, share, memory), result in zip(axes, results, strict=True):
        _over_time(over_time, result)
        _percentiles(share, result)
        _memory(memory, result)
    figure.savefig(path, dpi=100)
    return path


def _over_time(axes: Axes, result: Result) -> None:
    answers = result.load.answers
    of = {
        "good": [a for a in answers if a.good],
        "refused": [a for a in answers if a.refused],
        "failed": [a for a in answers if not a.good and not a.refused],
    }
    for kind, colour in _KINDS:
        if of[kind]:
            times, latencies = [a.due for a in of[kind]], [a.latency * 1000 for a in of[kind]]
            axes.plot(times, latencies, ".", markersize=2, color=colour, label=kind)
    axes.set_title(f"{result.scenario.name}, {result.loop}", fontsize=9)
    slowest = max((a.latency for a in answers), default=1.0)
    axes.set(xlabel="s", ylabel="ms", ylim=(0, 1150 * slowest))
    axes.legend(fontsize=7, loc="upper right")


def _percentiles(axes: Axes, result: Result) -> None:
    ordered = sorted(result.load.good)
    shares = [(i + 1) / len(ordered) for i in range(len(ordered))]
    axes.plot([seconds * 1000 for seconds in ordered], shares)
    axes.set_title("share of the good answers within", fontsize=9)
    axes.set(xlabel="ms", ylim=(0, 1.02))
    axes.set_xlim(left=0)


def _memory(axes: Axes, result: Result) -> None:
    memory = result.observation.memory
    axes.plot([m.at for m in memory], [m.rss / 1e6 for m in memory])
    axes.set_title("server memory, MB", fontsize=9)
    axes.set(xlabel="s", ylim=(0, 1.15 * max((m.rss / 1e6 for m in memory), default=1.0)))
