"""The classes that images are classified among, and what the data call them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipserve_models.errors import ModelsError
from clipserve_models.evaluation import cifar
from clipserve_models.evaluation.items import Item


@dataclass(frozen=True)
class Classes:
    """`labels`: K different ones. `keys`: what data may call a class, to its place among the labels."""

    labels: tuple[str, ...]
    keys: Mapping[str, int]

    def of(self, item: Item) -> list[int]:
        """The places of the right labels.

        Raises:
            ModelsError: there is no such class.
        """
        try:
            return [self.keys[each] for each in item.classes]
        except KeyError as missing:
            raise ModelsError(
                f"{item.id}: there is no class {missing}. There are {len(self.labels)}, the first "
                f"{self.labels[0]!r}: give those of these data with --classes."
            ) from None


def named(labels: Sequence[str], keys: Iterable[str] = ()) -> Classes:
    """Classes in the order of their numbers. Two with one name (ImageNet has "crane" twice) are one label."""
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    by_number = {str(number): places[label] for number, label in enumerate(labels)}
    return Classes((*places,), by_number | places | dict(zip(keys, by_number.values(), strict=False)))


def read_classes(path: Path) -> dict[str, str]:
    """Key -> label, from lines of `index <tab> key <tab> label`, as in ImageNet's lists.

    Raises:
        ModelsError: a line has another form.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if bad := next((i for i, row in enumerate(rows, 1) if len(row) != 3), None):
        raise ModelsError(f"{path}, line {bad}: expected index, key and label, separated by tabs.")
    return {key: label for _, key, label in rows}


def classes_of(file: Path | None, data: Path, names: Iterable[str]) -> Classes:
    """Those of a file, else those that the data bring along. `names`: what the items call them.

    Raises:
        ModelsError: the file has another form, or there are numbers alone.
    """
    if file is not None:
        by_key = read_classes(file)
        return named([*by_key.values()], by_key)
    if own := cifar.names(data):
        return named(own)
    found = sorted(set(names))
    if all(name.isdecimal() for name in found):
        raise ModelsError(f"{data} has numbers of classes and no names: give them with --classes.")
    return named([name.replace("_", " ") for name in found], found)
