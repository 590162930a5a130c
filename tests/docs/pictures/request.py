"""What a request passes, from its client to the encoders and back."""

from __future__ import annotations

from tests.docs.pictures.svg import Drawing

_WIDTH, _HEIGHT, _BOX = 760, 58, 104  # pixels: the whole, a box
_STATIONS = (
    ("front", "REST 8080", "gRPC 8081"),
    ("admission", "in time, or", "429 at once"),
    ("decoding", "images: own", "processes"),
    ("encoding", "in process, or", "by Triton"),
)


def draw() -> str:
    """The picture: the gateway as one box with its stations, an encoder in it or a Triton behind it."""
    title = "A request passes front, admission and decoding to the encoders, in this process or on Triton"
    drawing = Drawing(title, _WIDTH)
    drawing.box(4, 62, 92, _HEIGHT)
    drawing.words(50, 86, "client", "head", "middle")
    drawing.words(50, 105, "image, words", "small", "middle")
    drawing.box(112, 8, 516, 186, "ours")
    drawing.words(124, 30, "clipserve, one process", "head")
    for i, (name, *about) in enumerate(_STATIONS):
        x = 124 + i * (_BOX + 25)
        drawing.box(x, 62, _BOX, _HEIGHT)
        drawing.words(x + _BOX / 2, 81, name, "head", "middle")
        for number, line in enumerate(about):
            drawing.words(x + _BOX / 2, 97 + 15 * number, line, "small", "middle")
        if i:
            drawing.arrow(x - 25, 91, x, 91)
    drawing.arrow(96, 91, 124, 91)
    drawing.arrow(511 + _BOX / 2, 120, 511 + _BOX / 2, 140)
    drawing.box(396, 140, 220, 44)
    drawing.words(506, 158, "in process", "head", "middle")
    drawing.words(506, 175, "batches; onnxruntime, OpenVINO", "small", "middle")
    drawing.words(124, 158, "labels and their prompts: tokenized,", "small")
    drawing.words(124, 175, "encoded once, then kept", "small")
    drawing.arrow(615, 91, 656, 91)
    drawing.box(656, 62, 96, _HEIGHT)
    drawing.words(704, 81, "Triton", "head", "middle")
    drawing.words(704, 97, "batches;", "small", "middle")
    drawing.words(704, 112, "on GPUs", "small", "middle")
    return drawing.text()
