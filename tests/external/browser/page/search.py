"""The tab "search" as somebody uses it, and pictures to look among."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import skimage
from PIL import Image
from playwright.sync_api import FilePayload, Locator, expect

from tests.external.browser.visit import Tab

BROKEN = b"not a picture"

_DATA = Path(skimage.__file__).parent / "data"
_MUCH_ALIKE = {"chessboard_GRAY", "motorcycle_right"}  # each is nearly another one
_FACES = 26


def fifty_pictures(side: int = 320) -> dict[str, bytes]:
    """Name -> JPEG: 24 of those in the wheel of scikit-image, 26 faces made larger."""
    photos = {path.stem: path for path in sorted(_DATA.iterdir()) if path.suffix in (".png", ".jpg")}
    images: dict[str, Image.Image] = {
        name: Image.open(path) for name, path in photos.items() if name not in _MUCH_ALIKE
    }
    faces = np.load(_DATA / "lfw_subset.npy")[:_FACES]
    images |= {f"face-{at}": Image.fromarray((255 * face).astype(np.uint8)) for at, face in enumerate(faces)}
    return {f"{name}.jpg": _jpeg(image, side) for name, image in images.items()}


def _jpeg(image: Image.Image, side: int) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").resize((side, side)).save(file, "JPEG", quality=90)
    return file.getvalue()


class Search(Tab):
    """The tab, open in a page."""

    @property
    def panel(self) -> Locator:
        return self.page.locator("#search")

    @property
    def heading(self) -> Locator:
        return self.panel.locator("[data-place=heading]")

    def open(self) -> Search:
        self.page.goto(f"{self.url}/#search")
        expect(self.page.locator("#sentence")).to_be_visible()
        return self

    def choose(self, pictures: Mapping[str, bytes]) -> None:
        """Choose files, as in the dialog."""
        files = [
            FilePayload(name=name, mimeType="image/jpeg", buffer=each) for name, each in pictures.items()
        ]
        self.panel.locator("input[type=file]").first.set_input_files(files)

    def wait_ready(self, pictures: int, failed: int = 0) -> None:
        many = "1 picture" if pictures == 1 else f"{pictures} pictures"
        said = f"{many} ready, {failed} not." if failed else f"{many} ready."
        expect(self.page.locator("#search-progress")).to_have_text(said)

    def look_for(self, sentence: str) -> dict[str, float]:
        """Name -> cosine of the pictures, in the order in which they are shown."""
        self.page.fill("#sentence", sentence)
        self.page.press("#sentence", "Enter")
        return self.found(f"“{sentence}”")

    def found(self, what: str) -> dict[str, float]:
        """The same, once the page says that it is what they are most like."""
        expect(self.heading).to_contain_text(f"Most like {what}")
        expect(self.heading).to_contain_text("The number is the cosine")
        return self.shown()

    def shown(self) -> dict[str, float]:
        rows = self.panel.locator(".grid li").evaluate_all(
            "all => all.map(each => [each.querySelector('.name').textContent, each.querySelector('data').value])"
        )
        return {name: float(score or "nan") for name, score in rows}
