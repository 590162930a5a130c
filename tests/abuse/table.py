"""The table of what attacks did, by kind, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from tests.abuse.bar import Verdict

HEAD = (
    "| class | inputs | CPU, times | memory, times | worst status | 5xx | deaths | /livez p99, 1 client "
    "| 8 clients |\n| --- | --: | --: | --: | --: | --: | --: | --: | --: |"
)


def table(verdicts: Sequence[Verdict]) -> str:
    """A row for each kind; costs in times a good request of as many bytes."""
    kinds = dict.fromkeys(verdict.attack.kind for verdict in verdicts)
    return "\n".join([HEAD, *(_row(kind, [v for v in verdicts if v.attack.kind == kind]) for kind in kinds)])


def _row(kind: str, verdicts: Sequence[Verdict]) -> str:
    statuses = [status for verdict in verdicts for status in verdict.statuses]
    of_many = [v.livez_of_many for v in verdicts if v.livez_of_many is not None]
    cells = (
        kind,
        len(verdicts),
        f"{max(v.cpu for v in verdicts):.1f}",
        f"{max(v.memory for v in verdicts):.1f}",
        max(statuses, default="none"),
        sum(count for v in verdicts for status, count in v.statuses.items() if status >= 500),
        sum(v.died for v in verdicts),
        f"{max(v.livez for v in verdicts) * 1000:.0f} ms",
        f"{max(of_many) * 1000:.0f} ms" if of_many else "not tried",
    )
    return f"| {' | '.join(map(str, cells))} |"
