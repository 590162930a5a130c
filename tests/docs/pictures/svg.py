"""Boxes, words and arrows as SVG, readable on light and on dark pages."""

from __future__ import annotations

from html import escape

# Greys and a blue that have contrast on white and on black; where the page says which, they follow it.
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #6e7781 }
.head { font-weight: 600 } .small { font-size: 12px } .code { font: 12px ui-monospace, monospace }
rect { fill: #8c959f; fill-opacity: .12; stroke: #8c959f } rect.ours { fill: #2f81f7; stroke: #2f81f7 }
rect.bar { fill-opacity: 1 }
path { fill: none; stroke: #8c959f; stroke-width: 1.5 } .tip { fill: #8c959f; stroke: none }
@media (prefers-color-scheme: light) { text { fill: #24292f } }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""
_TIP = 7  # pixels: how long and how wide the tip of an arrow is


class Drawing:
    """A picture of `width` pixels; as high as what is drawn. `title` is read out in its place."""

    def __init__(self, title: str, width: int) -> None:
        self.width = width
        self._title = title
        self._bottom = 0.0
        self._parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, kind: str = "") -> None:
        """`kind`: of `ours`, in colour, and `bar`, filled."""
        named = f' class="{kind}"' if kind else ""
        self._parts.append(f'<rect{named} x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>')
        self._bottom = max(self._bottom, y + height)

    def words(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """One line whose foot is at y. `kind`: of `head`, `small`, `code`."""
        named = f' class="{kind}"' if kind else ""
        self._parts.append(
            f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text, quote=False)}</text>'
        )
        self._bottom = max(self._bottom, y)

    def arrow(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Straight to the right, or straight down."""
        if y == to_y:
            self._parts.append(f'<path d="M{x:g} {y:g}H{to_x - _TIP:g}"/>')
            tip = f"M{to_x:g} {y:g}l-{_TIP} -4v8z"
        else:
            self._parts.append(f'<path d="M{x:g} {y:g}V{to_y - _TIP:g}"/>')
            tip = f"M{to_x:g} {to_y:g}l-4 -{_TIP}h8z"
        self._parts.append(f'<path class="tip" d="{tip}"/>')

    def text(self) -> str:
        """The file."""
        height = self._bottom + 8
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height:g}" '
            f'width="{self.width}" height="{height:g}" role="img">\n<title>{escape(self._title)}</title>\n'
            f"<style>{_STYLE}</style>\n" + "\n".join(self._parts) + "\n</svg>\n"
        )
