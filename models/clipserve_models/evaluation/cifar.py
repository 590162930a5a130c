"""CIFAR-10 and CIFAR-100 as their authors publish them for Python: https://www.cs.toronto.edu/~kriz/cifar.html."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipserve_models.errors import ModelsError

_TESTS, _NAMES = ("test_batch", "test"), ("batches.meta", "meta")  # of CIFAR-10 and CIFAR-100


def fits(path: Path) -> bool:
    """Whether it is a batch, or a folder with the test images."""
    return path.suffix == "" if path.is_file() else _first(path, _TESTS) is not None


def images(path: Path) -> Iterator[tuple[str, npt.NDArray[np.uint8], str]]:
    """The images of a batch, or the test images of a folder: where each is, uint8 [32, 32, 3], its class's number.

    Raises:
        ValueError: it is not a batch.
    """
    file = _first(path, _TESTS) or path
    table = _unpickled(file)
    data, numbers = table.get(b"data"), table.get(b"labels") or table.get(b"fine_labels")
    if not isinstance(data, _Array) or not isinstance(numbers, list):
        raise ValueError("it is not a batch of CIFAR")
    _, shape, _, fortran, content = data.state
    rows = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")
    pixels = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [N, 32, 32, 3]
    for row, (number, image) in enumerate(zip(numbers, pixels, strict=True)):
        yield f"{file.name}:{row}", image, str(number)


def names(path: Path) -> list[str]:
    """The classes, in the order of their numbers, as the file beside the images has them; none without it."""
    file = _first(path if path.is_dir() else path.parent, _NAMES)
    table = _unpickled(file) if file else {}
    found = table.get(b"label_names") or table.get(b"fine_label_names") or ()
    return [name.decode().replace("_", " ") for name in found]


def _first(folder: Path, files: tuple[str, str]) -> Path | None:
    return next((folder / name for name in files if (folder / name).is_file()), None)


class _Array:
    """Takes the place of NumPy's array and of its type: it keeps what a pickle says of them, and runs nothing."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Array,
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),  # Python 3's bytes for Python 2
}


class _Restricted(pickle.Unpickler):
    """A pickle is a program: this one may name nothing but the five above."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only arrays are read")


def _unpickled(file: Path) -> dict[bytes, Any]:
    """Raises ModelsError: it is not one of CIFAR's pickles, or asks for more than arrays."""
    try:
        with file.open("rb") as opened:
            table = _Restricted(opened, encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
        raise ModelsError(f"{file} is not one of CIFAR's pickles: {error}.") from None
    if not isinstance(table, dict):
        raise ModelsError(f"{file} is not one of CIFAR's pickles: it holds no table.")
    return {key if isinstance(key, bytes) else str(key).encode(): value for key, value in table.items()}
