"""One figure of `make compare` as bars, out of its committed results."""

from __future__ import annotations

import json
import statistics

from loadtests.peers.chart import Bar, Panel, chart
from tests.docs.markdown import ROOT

RESULTS = ROOT / "loadtests/results/compare.json"
_NAMES = {  # in the results: in the picture
    "clipserve": "clipserve, bf16",
    "clipserve int8": "clipserve, int8",
    "clipserve fp32": "clipserve, fp32",
    "plain app": "plain app",
    "infinity": "infinity",
    "clip-as-service": "clip-as-service",
}


def draw() -> str:
    """The picture: photos embedded a second, the medians of all rounds."""
    results = json.loads(RESULTS.read_text())
    contest = results["contests"]["embed"]
    bars = [
        Bar(shown, statistics.median(turn["rate"] for turn in contest["turns"][name]), "clipserve," in shown)
        for name, shown in _NAMES.items()
    ]
    machine = results["machine"]
    footer = f"{results['artifact']}; {machine['CPU']} with bf16, {machine['cores']} cores; {results['date']}"
    return chart("requests per second, more is better", [Panel(contest["about"], bars)], footer)
