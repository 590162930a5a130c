"""Pictures that are drawn: some of what the demo model knows, and some of what it does not."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFont

SIDE = 320
MIDDLE = SIDE / 2

Draw = ImageDraw.ImageDraw
Point = tuple[float, float]


def drawn() -> dict[str, Image.Image]:
    """Name -> picture, RGB, 320 x 320."""
    return {name: _picture(ground, draw) for name, (ground, draw) in _DRAWINGS.items()}


def _picture(ground: str, draw: Callable[[Draw], None]) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), ground)
    draw(ImageDraw.Draw(image))
    return image


def _around(radius: float, number: int, turned: float = 0, middle: Point = (MIDDLE, MIDDLE)) -> list[Point]:
    """Points on a circle; `turned` in degrees."""
    angles = [math.radians(turned + 360 * each / number) for each in range(number)]
    return [(middle[0] + radius * math.cos(each), middle[1] + radius * math.sin(each)) for each in angles]


def _traffic_light(draw: Draw) -> None:
    draw.rounded_rectangle((110, 30, 210, 270), 20, fill="black")
    draw.rectangle((150, 270, 170, SIDE), fill="gray")
    for top, colour in ((45, "red"), (120, "#554400"), (195, "#113311")):
        draw.ellipse((130, top, 190, top + 60), fill=colour)


def _clock(draw: Draw) -> None:
    draw.ellipse((30, 30, 290, 290), fill="white", outline="black", width=12)
    for number, point in enumerate(_around(100, 12, turned=-60), 1):
        draw.text(point, str(number), fill="black", font=ImageFont.load_default(28), anchor="mm")
    draw.line((MIDDLE, MIDDLE, 200, 90), fill="black", width=8)
    draw.line((MIDDLE, MIDDLE, 70, MIDDLE), fill="black", width=6)


def _spider_web(draw: Draw) -> None:
    for end in _around(230, 14):
        draw.line((MIDDLE, MIDDLE, *end), fill="white", width=2)
    for radius in range(20, 230, 18):
        ring = _around(radius, 14)
        draw.line([*ring, ring[0]], fill="white", width=2)


def _honeycomb(draw: Draw) -> None:
    for row in range(-1, 10):
        for column in range(-1, 9):
            middle = (46.3 * column + 23.1 * (row % 2), 40 * row)
            draw.polygon(_around(23, 6, turned=30, middle=middle), fill="#f2b233")


def _envelope(draw: Draw) -> None:
    draw.rectangle((30, 80, 290, 250), fill="#f4ead0", outline="#998866", width=3)
    draw.line((30, 80, MIDDLE, 180, 290, 80), fill="#998866", width=4)


def _balloon(draw: Draw) -> None:
    draw.ellipse((90, 30, 230, 200), fill="#d62828")
    draw.polygon([(105, 150), (215, 150), (180, 235), (140, 235)], fill="#d62828")
    draw.rectangle((142, 250, 178, 280), fill="#7a4a26")
    for x in (145, 175):
        draw.line((x, 230, x, 255), fill="black", width=2)


def _maze(draw: Draw) -> None:
    for number in range(256):
        x, y = 20 * (number % 16), 20 * (number // 16)
        flat = number * 7919 % 13 < 6
        draw.line((x, y, x + 20 * flat, y + 20 * (not flat)), fill="black", width=4)


def _piano(draw: Draw) -> None:
    for key in range(10):
        draw.rectangle((key * 32, 100, key * 32 + 30, SIDE), fill="white")
    for key in (0, 1, 3, 4, 5, 7, 8):
        draw.rectangle((key * 32 + 21, 100, key * 32 + 41, 230), fill="black")


def _stop_sign(draw: Draw) -> None:
    draw.rectangle((152, 200, 168, SIDE), fill="gray")
    draw.polygon(_around(110, 8, 22.5, (MIDDLE, 130)), fill="#c1121f", outline="white", width=6)
    draw.text((MIDDLE, 130), "STOP", fill="white", font=ImageFont.load_default(64), anchor="mm")


def _umbrella(draw: Draw) -> None:
    draw.pieslice((40, 50, 280, 290), 180, 360, fill="#d00000")
    draw.line((MIDDLE, 60, MIDDLE, 270), fill="black", width=6)
    draw.arc((120, 245, 160, 295), 0, 180, fill="black", width=6)


_DRAWINGS: dict[str, tuple[str, Callable[[Draw], None]]] = {
    "traffic-light": ("skyblue", _traffic_light),
    "clock": ("#c9b89a", _clock),
    "web": ("#203020", _spider_web),
    "honeycomb": ("#8a4b00", _honeycomb),
    "envelope": ("#556677", _envelope),
    "balloon": ("#9fd0f5", _balloon),
    "maze": ("white", _maze),
    "piano": ("#331100", _piano),
    "stop": ("#9fd0f5", _stop_sign),
    "umbrella": ("#dfe7ec", _umbrella),
}
