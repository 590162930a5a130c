"""The curve of a few-shot probe as SVG, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_WIDTH, _HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 464, 40, 252  # of the plot
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #6e7781 } path { fill: none; stroke: #8c959f }
.curve { stroke: #2f81f7; stroke-width: 2 } circle { fill: #2f81f7 }
.zero { stroke-width: 1.5; stroke-dasharray: 6 4 }
@media (prefers-color-scheme: light) { text { fill: #24292f } }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""

Point = tuple[str, float, float, float]  # its label on the axis; mean, lowest and highest share


def curve(points: Sequence[Point], zero_shot: float) -> str:
    """Shares, 0..1, with bars from lowest to highest, and a line for zero-shot. The file."""
    parts = "\n".join(_parts(points, zero_shot))
    title = "Top-1 by the images of each class that a linear probe learns from, beside zero-shot"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img">\n<title>{title}</title>\n<style>{_STYLE}</style>\n{parts}\n</svg>\n'
    )


def _parts(points: Sequence[Point], zero_shot: float) -> Iterator[str]:
    apart = (_RIGHT - _LEFT) / len(points)
    across = [_LEFT + apart * (place + 0.5) for place in range(len(points))]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield f'<path stroke-opacity=".35" d="M{_LEFT} {_y(share)}H{_RIGHT}"/>'
        yield _text(_LEFT - 8, _y(share) + 4, f"{share:.0%}", "end")
    yield f'<path class="zero" d="M{_LEFT} {_y(zero_shot)}H{_RIGHT}"/>'
    yield _text(_RIGHT, 20, f"- - zero-shot {zero_shot:.1%}", "end")
    yield _text(_LEFT, 20, "linear probe, top-1")
    line = " ".join(f"{x:g} {_y(mean)}" for x, (_, mean, *_) in zip(across, points, strict=True))
    yield f'<path class="curve" d="M{line}"/>'
    for x, (below, mean, lowest, highest) in zip(across, points, strict=True):
        yield f'<path class="curve" d="M{x:g} {_y(lowest)}V{_y(highest)}"/>'
        yield f'<circle cx="{x:g}" cy="{_y(mean)}" r="4"/>'
        yield _text(x, _BOTTOM + 18, below, "middle")
    yield _text((_LEFT + _RIGHT) / 2, _HEIGHT - 8, "images of each class", "middle")


def _y(share: float) -> float:
    return round(_BOTTOM - share * (_BOTTOM - _TOP), 1)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{text}</text>'
