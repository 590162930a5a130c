"""`python -m tests.external.browser.pictures`: docs/pictures/*.png, the page as it is now.

From a running service with the demo model. The pictures in them are docs/cat.jpg and some that come with
scikit-image; all are CC0 or in the public domain.
"""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.external.browser.page.classify import Classify
from tests.external.browser.page.label_sets import LabelSets
from tests.external.browser.page.search import Search, fifty_pictures
from tests.external.browser.visit import CHROMIUM, FLAGS, Visit, visit_in
from tests.support.process import ROOT, Process

FOLDER = ROOT / "docs" / "pictures"
COLOURS = 256  # of the palette
MOST_BYTES = 200_000
SHOWN = "http://localhost:8080"  # the address that the pictures show, wherever the service is
# Of what scikit-image ships, photographs whose source says CC0 or public domain (skimage.data's documentation).
FREE = ("chelsea", "coffee", "rocket", "astronaut", "hubble_deep_field", "camera")
SHOTS: dict[str, dict[str, Any]] = {  # name -> the browser
    "page-light": {"viewport": {"width": 1120, "height": 840}, "color_scheme": "light"},
    "page-dark": {"viewport": {"width": 1120, "height": 840}, "color_scheme": "dark"},
    "page-phone": {
        "viewport": {"width": 375, "height": 1440},
        "color_scheme": "light",
        "is_mobile": True,
        "has_touch": True,
    },
}


def take(browser: Browser, url: str, name: str, folder: Path = FOLDER) -> Path:
    """The picture `name`, in a PNG with a palette."""
    classify = Classify(visit_in(browser, **SHOTS[name]), url).open()
    classify.page.evaluate(
        """([url, shown]) => {
          const code = document.querySelector("#classify pre code");
          code.textContent = code.textContent.replaceAll(url, shown);
        }""",
        [url, SHOWN],
    )
    return _kept(classify.visit, folder / f"{name}.png")


def take_search(browser: Browser, url: str, folder: Path = FOLDER) -> Path:
    """The tab "search", light, as PNG with a palette."""
    visit = visit_in(browser, viewport={"width": 1120, "height": 720}, color_scheme="light")
    search = Search(visit, url).open()
    pictures = fifty_pictures(side=480)
    search.choose({f"{name}.jpg": pictures[f"{name}.jpg"] for name in FREE})
    search.wait_ready(len(FREE))
    search.look_for("a rocket lifts off at night")
    return _kept(visit, folder / "search-light.png")


def take_label_sets(browser: Browser, url: str, folder: Path = FOLDER) -> Path:
    """The tab "label sets", light, as PNG with a palette."""
    visit = visit_in(browser, viewport={"width": 1120, "height": 880}, color_scheme="light")
    sets = LabelSets(visit, url).open()
    pictures = fifty_pictures(side=480)
    sets.make("album", "staff", "rocket")
    sets.give("staff", "camera.jpg", pictures["camera.jpg"])
    sets.give("rocket", "rocket.jpg", pictures["rocket.jpg"])
    sets.save()
    sets.attempt(**{name: pictures[f"{name}.jpg"] for name in ("astronaut", "camera", "rocket")})
    sets.mark_wrong("astronaut.jpg", "staff")
    sets.save()
    visit.page.evaluate("scrollTo(0, 0)")
    return _kept(visit, folder / "label-sets-light.png")


def _kept(visit: Visit, path: Path) -> Path:
    visit.page.wait_for_timeout(500)  # until pictures are drawn and bars have moved
    shot = Image.open(io.BytesIO(visit.page.screenshot())).convert("RGB")
    shot.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    visit.page.context.close()
    return path


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    process = Process(backend="onnx")
    process.wait_ready()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        takes = [partial(take, browser, process.url, name) for name in SHOTS]
        takes += [partial(take_search, browser, process.url), partial(take_label_sets, browser, process.url)]
        for each in takes:
            path = each()
            if path.stat().st_size > MOST_BYTES:
                sys.exit(
                    f"{path.name} has more than {MOST_BYTES:,} bytes: take a smaller window or fewer colours"
                )
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
    process.stop()


if __name__ == "__main__":
    main()
