"""Horizontal bars as SVG, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Pixels: the picture, the names on the left, the figures on the right.
_WIDTH, _LABELS, _VALUES = 760, 170, 60
_BAR, _GAP, _HEAD, _TITLE, _MARGIN = 16, 6, 34, 34, 16

# Greys and a blue that have contrast on white and on black; where the page says which, the text follows it.
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #6e7781 }
.head { font-weight: 600 } .small { font-size: 11px } .ours { fill: #2f81f7; font-weight: 600 }
rect { fill: #8c959f } rect.ours { fill: #2f81f7 }
@media (prefers-color-scheme: light) { text { fill: #24292f } .ours { fill: #0969da } }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .ours { fill: #58a6ff } }
"""


@dataclass(frozen=True)
class Bar:
    """`ours`: drawn in colour."""

    label: str
    value: float
    ours: bool = False


@dataclass(frozen=True)
class Panel:
    """Bars that share a scale; the longest fills the width."""

    title: str
    bars: Sequence[Bar]


def chart(title: str, panels: Sequence[Panel], footer: str) -> str:
    """The picture as text."""
    parts: list[str] = [_text(_MARGIN, 22, title, "head")]
    y = _TITLE
    for panel in panels:
        parts.append(_text(_MARGIN, y + 22, panel.title, "head"))
        y += _HEAD
        longest = max((bar.value for bar in panel.bars), default=0) or 1
        for bar in panel.bars:
            parts += _bar(bar, y, longest)
            y += _BAR + _GAP
    y += 24
    parts.append(_text(_MARGIN, y, footer, "small"))
    height = y + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bar(bar: Bar, y: int, longest: float) -> list[str]:
    length = (_WIDTH - _LABELS - _VALUES - 2 * _MARGIN) * bar.value / longest
    name = "ours" if bar.ours else ""
    start = _MARGIN + _LABELS
    figure = f"{bar.value:.1f}"
    return [
        _text(start - 8, y + 13, bar.label, name, anchor="end"),
        f'<rect class="{name}" x="{start}" y="{y}" width="{max(length, 1):.1f}" height="{_BAR}" rx="2"/>',
        _text(round(start + length + 6), y + 13, figure, name),
    ]


def _text(x: int, y: int, words: str, name: str, anchor: str = "start") -> str:
    return f'<text class="{name}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
