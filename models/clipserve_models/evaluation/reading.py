"""Labelled data, file by file: a reader for each form behind one table."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from clipserve.commands.vectors.listing import SUFFIXES
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation import cifar
from clipserve_models.evaluation.items import Item, item_of

_ROWS = 64  # of a Parquet file that are in memory at a time
_FAULTS = (OSError, ValueError, TypeError, EOFError, csv.Error, tarfile.TarError)


def labelled_photos(folder: Path, keys: Collection[str]) -> Iterator[tuple[Path, str]]:
    """The photos that have one of these keys, each with its key.

    A photo's key is the name of its folder (ImageNet's layout), or the part of its own name before the first `_`.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            for key in (path.parent.name, path.stem.partition("_")[0]):
                if key in keys:
                    yield path, key
                    break


def _folder(folder: Path, keys: Collection[str]) -> Iterator[Item]:
    """With keys, the photos that have one; without keys, each folder in `folder` is a class."""
    if not keys and not (keys := [path.name for path in folder.iterdir() if path.is_dir()]):
        raise ModelsError(
            f"{folder} has no folder of photos in it, so nothing says their classes: put the photos of each class "
            "into a folder of its name, or give --classes FILE, whose keys begin the photos' names (KEY_1.jpg)."
        )
    for path, key in labelled_photos(folder, keys):
        yield Item(str(path.relative_to(folder)), path, (key,))


def _table(file: Path, _: Collection[str]) -> Iterator[Item]:
    """A CSV or TSV with a header. Consecutive rows with the same image are one item."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
        rows = csv.DictReader(lines, delimiter=delimiter)
        each = (item_of(f"{file.name}, row {number}", row, file.parent) for number, row in enumerate(rows, 1))
        for _image, same in groupby(each, lambda item: item.image):
            first, *others = same
            classes = first.classes + sum((item.classes for item in others), ())
            captions = first.captions + sum((item.captions for item in others), ())
            yield Item(first.id, first.image, classes, captions)


def _parquet(file: Path, _: Collection[str]) -> Iterator[Item]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ModelsError(f"{file}: to read Parquet, pip install 'clipserve-core[parquet]'.") from None
    row = 0
    with parquet.ParquetFile(file) as opened:
        for batch in opened.iter_batches(_ROWS):
            for fields in batch.to_pylist():
                row += 1
                yield item_of(f"{file.name}, row {row}", fields, file.parent)


def _tar(file: Path, _: Collection[str]) -> Iterator[Item]:
    """A webdataset: consecutive files with the same stem are one item."""
    with tarfile.open(file, "r|*") as archive:
        named = ((*_stem(member.name), member) for member in archive if member.isfile())
        for stem, members in groupby(named, itemgetter(0)):
            parts: dict[str, bytes] = {}
            for _stem_again, suffix, member in members:
                content = archive.extractfile(member)
                parts[suffix] = content.read() if content else b""
            if any(f".{suffix}" in SUFFIXES for suffix in parts):
                yield _sample(f"{file.name}: {stem}", parts, file.parent)


def _stem(name: str) -> tuple[str, str]:
    """Splits `a/b.c.jpg` into `a/b` and `c.jpg`, as webdataset does."""
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return folder + slash + stem, suffix.lower()


def _sample(where: str, parts: dict[str, bytes], root: Path) -> Item:
    fields = json.loads(parts.get("json", b"{}"))
    fields["image"] = next(content for suffix, content in parts.items() if f".{suffix}" in SUFFIXES)
    if "cls" in parts:
        fields["label"] = parts["cls"].decode()
    if "txt" in parts:
        fields["caption"] = [line for line in parts["txt"].decode().splitlines() if line.strip()]
    return item_of(where, fields, root)


def _cifar(path: Path, _: Collection[str]) -> Iterator[Item]:
    return cifar.items(path)


class _Form(NamedTuple):
    fits: Callable[[Path], bool]
    items: Callable[[Path, Collection[str]], Iterator[Item]]


# The first that fits. A folder of shards is one of the files in it.
_FORMS = (
    _Form(cifar.fits, _cifar),
    _Form(lambda path: path.name.lower().endswith((".tar", ".tar.gz", ".tgz")), _tar),
    _Form(lambda path: path.suffix.lower() == ".parquet", _parquet),
    _Form(lambda path: path.suffix.lower() in (".csv", ".tsv"), _table),
    _Form(Path.is_dir, _folder),
)


def read_items(data: Path, keys: Collection[str] = ()) -> Iterator[Item]:
    """All items, in an order that depends on the data alone. `keys`: of the classes, for a folder of photos.

    Raises:
        ModelsError: the data have no known format, or are damaged.
    """
    for path in _shards(data):
        form = next((form for form in _FORMS if form.fits(path)), None)
        if form is None:
            raise ModelsError(
                f"{path} is not a folder of photos, CIFAR's files, .tar, .parquet, .csv or .tsv."
            )
        try:
            yield from form.items(path, keys)
        except _FAULTS as error:
            raise ModelsError(f"{path} cannot be read: {error}.") from None


def _shards(data: Path) -> list[Path]:
    if data.is_dir():
        for suffix in (".tar", ".parquet"):
            if found := sorted(data.glob(f"*{suffix}")):
                return found
    return [data]
