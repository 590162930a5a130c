"""Writes the results as JSON, as tables and as a picture, all from the contents of compare.json."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtests.peers.chart import Bar, Panel, chart
from loadtests.peers.contestants import shown
from loadtests.peers.rounds import Served
from loadtests.report import machine_facts, table

Turns = Sequence[Mapping[str, Any]]  # turns of a contestant in a contest, in the order of rounds
OURS = "clipserve"  # and names that begin with it
_BASES = ("plain app", "infinity")  # the others are given as multiples of these


def facts(
    artifact: Path,
    served: Sequence[Served],
    skipped: Mapping[str, str],
    photos: Mapping[tuple[int, int], bytes],
) -> dict[str, Any]:
    """The facts that the figures depend on. Call it while the contestants run: it reads their peak memory."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shown(" ".join(["python -m loadtests.compare", *sys.argv[1:]])),
        "artifact": json.loads((artifact / "model.json").read_text("utf-8"))["name"],
        "machine": machine_facts(),
        "image_bytes": {f"{width} x {height}": len(image) for (width, height), image in photos.items()},
        "contestants": {
            each.contestant.name: {
                "command": each.contestant.command_line,
                "versions": dict(each.contestant.versions),
                "startup_seconds": round(each.server.startup_seconds, 2),
                "peak_memory_bytes": each.server.peak_bytes(),
                "least_cosine_to_clipserve": round(min(each.cosines), 7),
            }
            for each in served
        },
        "skipped": {name: shown(reason) for name, reason in skipped.items()},
    }


def write(folder: Path, found: Mapping[str, Any]) -> None:
    """compare.json with every turn, compare.md, compare.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    (folder / "compare.md").write_text(markdown(found), "utf-8")
    (folder / "compare.svg").write_text(picture(found), "utf-8")


def rate(turns: Turns) -> float:
    """The median of good answers a second."""
    return float(statistics.median(turn["rate"] for turn in turns))


def p50(turns: Turns) -> float | None:
    """The median of the rounds' medians, in milliseconds."""
    found = [turn["p50"] for turn in turns if turn["p50"] is not None]
    return statistics.median(found) if found else None


def ratio(first: Turns, second: Turns) -> float:
    """The median of the rounds' ratios of the two rates; infinite if `second` answers nothing."""
    pairs = zip(first, second, strict=True)
    return statistics.median(a["rate"] / b["rate"] if b["rate"] else float("inf") for a, b in pairs)


def markdown(found: Mapping[str, Any]) -> str:
    """The tables: one for each contest, then the servers, then the facts."""
    parts = [
        "# clipserve beside others\n",
        f"`{found['command']}`, {found['date']}. Medians of {found['rounds']} interleaved rounds of "
        f"{found['seconds']:g} s; a multiple is the median of each round's own. {found['artifact']}.\n",
    ]
    for name, contest in found["contests"].items():
        parts += [f"## {name}: {contest['about']}\n", _contest_table(contest["turns"]) + "\n"]
    parts += ["## The servers\n", _server_table(found["contestants"]) + "\n"]
    lines = [f"- {name}: {value}" for name, value in found["machine"].items()]
    lines += [f"- JPEG {size}: {count:,} bytes" for size, count in found["image_bytes"].items()]
    lines += [f"- {name}: `{about['command']}`" for name, about in found["contestants"].items()]
    lines += [f"- {name} did not take part: {reason}" for name, reason in found["skipped"].items()]
    parts += ["## Conditions\n", "\n".join(lines) + "\n"]
    return "\n".join(parts)


def picture(found: Mapping[str, Any]) -> str:
    """SVG with a panel for each contest, and a bar for each contestant's requests a second."""
    panels = [
        Panel(
            contest["about"],
            [Bar(name, rate(turns), name.startswith(OURS)) for name, turns in contest["turns"].items()],
        )
        for contest in found["contests"].values()
    ]
    machine = found["machine"]
    footer = f"{found['artifact']}; {machine['CPU']}, {machine['cores']} cores; {found['date']}"
    return chart("requests per second, more is better", panels, footer)


def _contest_table(measured: Mapping[str, Turns]) -> str:
    bases = [base for base in _BASES if base in measured]
    rows = []
    for name, turns in measured.items():
        failed, middle = sum(turn["failed"] for turn in turns), p50(turns)
        cells = [name, f"{rate(turns):.1f}{f' ({failed} failed)' if failed else ''}"]
        cells.append("" if middle is None else f"{middle:.0f} ms")
        rows.append(cells + ["" if name == base else f"{ratio(turns, measured[base]):.2f}" for base in bases])
    return table(("", "requests/s", "p50", *(f"x {base}" for base in bases)), rows)


def _server_table(contestants: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            f"{about['startup_seconds']:.1f} s",
            f"{about['peak_memory_bytes'] / 1e6:,.0f} MB",
            f"{about['least_cosine_to_clipserve']:.5f}",
            ", ".join(f"{package} {version}" for package, version in about["versions"].items()),
        ]
        for name, about in contestants.items()
    ]
    return table(("", "first answer after", "peak memory", "cosine to clipserve", "versions"), rows)
