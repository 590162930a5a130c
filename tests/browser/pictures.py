"""`make pictures`: docs/pictures/page-*.png, the page as it is now, from a running service with the demo model.

The picture in them is docs/cat.jpg, which is CC0.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.browser.page.classify import Classify
from tests.browser.visit import CHROMIUM, FLAGS, visit_in
from tests.process import ROOT, Process

FOLDER = ROOT / "docs" / "pictures"
COLOURS = 256  # of the palette
MOST_BYTES = 200_000
SHOWN = "http://localhost:8080"  # the address that the pictures show, wherever the service is
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
    classify.page.wait_for_timeout(500)  # until the bars have moved
    shot = Image.open(io.BytesIO(classify.page.screenshot())).convert("RGB")
    path = folder / f"{name}.png"
    shot.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    classify.page.context.close()
    return path


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    process = Process(backend="onnx")
    process.wait_ready()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name in SHOTS:
            path = take(browser, process.url, name)
            if path.stat().st_size > MOST_BYTES:
                sys.exit(
                    f"{path.name} has more than {MOST_BYTES:,} bytes: take a smaller window or fewer colours"
                )
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
    process.stop()


if __name__ == "__main__":
    main()
