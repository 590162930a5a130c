"""What axe and Lighthouse find in the page: accessibility, speed, and practices that are good."""

from __future__ import annotations

import json
import os
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.external.browser.page.tabs import TABS
from tests.external.browser.visit import CHROMIUM, FLAGS, SCHEMES, Visit, in_a_browser
from tests.process import ROOT

AXE = ROOT / ".page-tools/axe/node_modules/axe-core/axe.min.js"
LIGHTHOUSE = ROOT / ".page-tools/lighthouse/node_modules/.bin/lighthouse"

pytestmark = in_a_browser


@pytest.mark.skipif(not AXE.exists(), reason="axe is not installed (make test-all ONLY=browser)")
@pytest.mark.parametrize("tab", TABS)
def test_axe_finds_nothing(visit: Visit, url: str, tab: str) -> None:
    page = visit.page
    TABS[tab](visit, url)
    # The policy forbids scripts that are not files of the service; what the debugger evaluates is not bound by it.
    page.evaluate(AXE.read_text())
    for scheme, width in product(SCHEMES, (1280, 375)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        told = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]
        assert told == [], (scheme, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.complaints == []
    assert visit.elsewhere(url) == set()


@pytest.mark.nightly
@pytest.mark.skipif(
    not LIGHTHOUSE.exists(), reason="Lighthouse is not installed (make test-all ONLY=browser FULL=1)"
)
@pytest.mark.parametrize("tab", TABS)
def test_lighthouse_gives_95_or_more(url: str, tab: str, tmp_path: Path) -> None:
    """It measures time: where one score is low, two more reports must both be good."""
    if min(lighthouse(f"{url}/#{tab}", tmp_path / "report.json").values()) < 95:
        again = [lighthouse(f"{url}/#{tab}", tmp_path / "report.json") for _ in range(2)]
        assert min(score for scores in again for score in scores.values()) >= 95, again


def lighthouse(address: str, report: Path) -> dict[str, float]:
    """Name of a category -> its score of 100, for a slow phone, as Lighthouse simulates it."""
    command = [
        str(LIGHTHOUSE),
        address,
        "--quiet",
        "--output=json",
        f"--output-path={report}",
        "--only-categories=performance,accessibility,best-practices",
        f"--chrome-flags=--headless {' '.join(flag for flag in FLAGS if ' ' not in flag)}",
    ]
    environment = os.environ | {"CHROME_PATH": str(CHROMIUM)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(report.read_text())
    return {name: round(100 * (each["score"] or 0)) for name, each in said["categories"].items()}
