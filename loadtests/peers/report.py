"""What was measured, as JSON for machines, as tables and as a picture."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtests.machine import machine_facts
from loadtests.peers.chart import Bar, Panel, chart
from loadtests.peers.contestants import shown
from loadtests.peers.rounds import Contest, Results, Served

OURS = "clipserve"  # and what begins with it
_BASES = ("plain app", "infinity")  # whose multiples the others are given as


@dataclass(frozen=True)
class Facts:
    """What the figures depend on. `image_bytes`: of the JPEGs by their size; `skipped`: peers and reasons."""

    date: str
    command: str
    artifact: str
    rounds: int
    seconds: float
    machine: Mapping[str, str]
    image_bytes: Mapping[str, int]
    contestants: Mapping[str, Mapping[str, Any]]
    skipped: Mapping[str, str]


def facts(
    artifact: Path,
    served: Sequence[Served],
    skipped: Mapping[str, str],
    rounds: int,
    seconds: float,
    photos: Mapping[tuple[int, int], bytes],
) -> Facts:
    """To be called while the contestants still run: it reads their peak memory."""
    return Facts(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=shown(" ".join(["python -m loadtests.compare", *sys.argv[1:]])),
        artifact=str(json.loads((artifact / "model.json").read_text("utf-8"))["name"]),
        rounds=rounds,
        seconds=seconds,
        machine=machine_facts(),
        image_bytes={f"{width} x {height}": len(image) for (width, height), image in photos.items()},
        contestants={
            each.name: {
                "command": each.contestant.command_line,
                "versions": dict(each.contestant.versions),
                "startup_seconds": round(each.server.startup_seconds, 2),
                "peak_memory_bytes": each.server.peak_bytes(),
                "least_cosine_to_clipserve": round(min(each.cosines), 7),
            }
            for each in served
        },
        skipped={name: shown(reason) for name, reason in skipped.items()},
    )


def write(folder: Path, known: Facts, contests: Sequence[Contest], results: Results) -> None:
    """compare.json with every turn, compare.md, compare.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = [contest for contest in contests if contest.name in results.turns]
    turns = {
        contest.name: {
            "about": contest.about,
            "turns": {
                name: [_rounded(t) for t in all_] for name, all_ in results.turns[contest.name].items()
            },
        }
        for contest in measured
    }
    raw = dataclasses.asdict(known) | {"contests": turns}
    (folder / "compare.json").write_text(json.dumps(raw, indent=1) + "\n", "utf-8")
    (folder / "compare.md").write_text(markdown(known, measured, results), "utf-8")
    (folder / "compare.svg").write_text(picture(known, measured, results), "utf-8")


def markdown(known: Facts, contests: Sequence[Contest], results: Results) -> str:
    """The tables: one a contest, then the servers, then what all depends on."""
    parts = [
        "# clipserve beside others\n",
        f"`{known.command}`, {known.date}. Medians of {known.rounds} interleaved rounds of {known.seconds:g} s; "
        f"a multiple is the median of each round's own. {known.artifact}.\n",
    ]
    for contest in contests:
        parts += [f"## {contest.name}: {contest.about}\n", _contest_table(contest.name, results)]
    parts += ["## The servers\n", _server_table(known)]
    lines = [f"- {name}: {value}" for name, value in known.machine.items()]
    lines += [f"- JPEG {size}: {count:,} bytes" for size, count in known.image_bytes.items()]
    for name, about in known.contestants.items():
        lines.append(f"- {name}: `{about['command']}`")
    lines += [f"- {name} did not take part: {reason}" for name, reason in known.skipped.items()]
    parts += ["## Conditions\n", "\n".join(lines) + "\n"]
    return "\n".join(parts)


def picture(known: Facts, contests: Sequence[Contest], results: Results) -> str:
    """SVG: a panel a contest, a bar a contestant, as long as its requests a second."""
    panels = []
    for contest in contests:
        names = results.turns[contest.name]
        bars = [Bar(name, results.rate(contest.name, name), name.startswith(OURS)) for name in names]
        panels.append(Panel(contest.about, bars))
    footer = f"{known.artifact}; {known.machine['CPU']}, {known.machine['cores']} cores; {known.date}"
    return chart("requests per second, more is better", panels, footer)


def _contest_table(contest: str, results: Results) -> str:
    measured = results.turns[contest]
    bases = [base for base in _BASES if base in measured]
    lines = [
        "| | requests/s | p50 |" + "".join(f" x {base} |" for base in bases),
        "| --- | --- | --- |" + " --- |" * len(bases),
    ]
    for name, turns in measured.items():
        failed = sum(turn.failed for turn in turns)
        remark = f" ({failed} failed)" if failed else ""
        p50 = results.p50(contest, name)
        cells = [name, f"{results.rate(contest, name):.1f}{remark}", "" if p50 is None else f"{p50:.0f} ms"]
        cells += ["" if name == base else f"{results.ratio(contest, name, base):.2f}" for base in bases]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _server_table(known: Facts) -> str:
    lines = [
        "| | first answer after | peak memory | cosine to clipserve | versions |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, about in known.contestants.items():
        versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
        memory = about["peak_memory_bytes"] / 1e6
        cosine = about["least_cosine_to_clipserve"]
        lines.append(
            f"| {name} | {about['startup_seconds']:.1f} s | {memory:,.0f} MB | {cosine:.5f} | {versions} |"
        )
    return "\n".join(lines) + "\n"


def _rounded(turn: Any) -> dict[str, Any]:
    values = dataclasses.asdict(turn)
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
