"""The classes that images are classified among, and how the data name them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation import cifar
from clipserve_models.evaluation.data import Item


@dataclass(frozen=True)
class Classes:
    """The classes, in the order of their numbers.

    Attributes:
        labels: the K different names; two classes may have the same one (ImageNet has "crane" twice).
        keys: each name that data may use for a class, to its position among the labels.
    """

    labels: tuple[str, ...]
    keys: Mapping[str, int]

    def of(self, item: Item) -> list[int]:
        """The positions of the right labels.

        Raises:
            ModelsError: there is no such class, or the item has none.
        """
        if not item.classes:
            raise ModelsError(f"{item.id} has no class, but other items have one.")
        try:
            return [self.keys[each] for each in item.classes]
        except KeyError as missing:
            raise ModelsError(
                f"{item.id}: there is no class {missing}. There are {len(self.labels)}, the first is "
                f"{self.labels[0]!r}: name the classes of these data with --classes."
            ) from None


def named(names: Sequence[str], keys: Iterable[str] = ()) -> Classes:
    """Classes of these names. Data may call them by name (with _ for a space), by number, or by a key of each."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    by_number = {str(number): places[name] for number, name in enumerate(names)}
    by_name = {name.replace(" ", "_"): place for name, place in places.items()} | places
    return Classes((*places,), by_number | by_name | dict(zip(keys, by_number.values(), strict=False)))


def read_keys(path: Path) -> dict[str, str]:
    """Key -> label, from lines of `index <tab> key <tab> label`, as in ImageNet's lists.

    Raises:
        ModelsError: a line has another form.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if bad := next((i for i, row in enumerate(rows, 1) if len(row) != 3), None):
        raise ModelsError(f"{path}, line {bad}: expected index, key and label, separated by tabs.")
    return {key: label for _, key, label in rows}


def read_classes(given: str | Path) -> Classes:
    """The classes of a file, see `read_keys`, or with a name in each line; or of the template set of a data set.

    Raises:
        ModelsError: there is no such file or set, or the file has another form.
    """
    path = Path(given)
    if path.is_file():
        lines = path.read_text("utf-8").splitlines()
        if any("\t" in line for line in lines):
            by_key = read_keys(path)
            return named([*by_key.values()], by_key)
        names: Sequence[str] = [line.strip() for line in lines if line.strip()]
    else:
        names = TEMPLATE_SETS[str(given)].class_names if str(given) in TEMPLATE_SETS else ()
    if not names:
        sets = ", ".join(each.name for each in TEMPLATE_SETS.values() if each.class_names)
        raise ModelsError(
            f"{given} is neither a file of classes nor a data set whose classes are known: {sets}."
        )
    return named(names)


def classes_in(data: Path, names: Iterable[str]) -> Classes:
    """The classes that the data define. `names`: the names of classes in the items.

    Raises:
        ModelsError: the data have only numbers of classes.
    """
    if own := cifar.names(data):
        return named(own)
    found = sorted(set(names))
    if all(name.isdecimal() for name in found):
        raise ModelsError(f"{data} has numbers of classes and no names: give the names with --classes.")
    return named([name.replace("_", " ") for name in found], found)
