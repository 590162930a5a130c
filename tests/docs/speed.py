"""One figure of `make compare` as bars, out of its committed results: `make docs` draws docs/pictures/speed.svg."""

from __future__ import annotations

import re

from tests.docs.markdown import ROOT

RESULTS = ROOT / "loadtests/results/compare.md"
PICTURE = ROOT / "docs/pictures/speed.svg"
SERVERS = {"clipserve": "bf16", "clipserve int8": "", "clipserve fp32": "", "plain app": "", "infinity": ""}
# Greys and a blue that have contrast on white and on black.
_STYLE = (
    "text { font: 13px system-ui, sans-serif; fill: #6e7781 } rect { fill: #8c959f } .ours { fill: #2f81f7 }"
)
_LABELS, _LONGEST = 186, 498  # pixels: the names on the left, the longest bar


def rows(contest: str) -> dict[str, tuple[str, str]]:
    """Of each server in this contest: requests a second, and p50 in ms."""
    row = rf"^\| {re.escape(contest)} \| ([^|]+) \| ([\d.]+) \| [^|]+ \| ([\d.,]+) \|"
    found = re.findall(row, RESULTS.read_text(), re.MULTILINE)
    return {server: (rate, p50) for server, rate, p50 in found}


def draw() -> str:
    """The picture: photos embedded a second, the medians of all rounds."""
    contest = "vector of a 640 x 480 JPEG, 8 clients"
    rates = {name: float(rows(contest)[name][0]) for name in SERVERS}
    parts = [f'<text x="16" y="22">{contest}: requests per second, more is better</text>']
    for number, (name, rate) in enumerate(rates.items()):
        y, length = 40 + 22 * number, round(_LONGEST * rate / max(rates.values()))
        kind = ' class="ours"' if name.startswith("clipserve") else ""
        parts += [
            f'<text x="{_LABELS - 8}" y="{y + 13}" text-anchor="end">{name} {SERVERS[name]}</text>',
            f'<rect{kind} x="{_LABELS}" y="{y}" width="{length}" height="16" rx="6"/>',
            f'<text x="{_LABELS + length + 6}" y="{y + 13}">{rate:.1f}</text>',
        ]
    parts.append('<text x="16" y="172">ViT-B/32 with random weights; AMD EPYC with bf16, 2 cores</text>')
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 184" width="760" height="184" role="img">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw())
