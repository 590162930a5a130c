"""Labelled data of every form: the same photos come out, with the same truths."""

from __future__ import annotations

import csv
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipserve.client.images import as_file
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.classes import classes_in, read_classes
from clipserve_models.evaluation.data import read_items
from tests.models.evaluation.data import LABELS, TRUTHS, cifar_pickle, picture, pixels

Writer = Callable[[Path], Path]


def folder(at: Path) -> Path:
    for number, truth in enumerate(TRUTHS):
        (at / LABELS[truth]).mkdir(exist_ok=True)
        (at / LABELS[truth] / f"{number}.png").write_bytes(picture(number))
    (at / "README.md").write_text("no photo")
    return at


def table(at: Path) -> Path:
    for number in range(len(TRUTHS)):
        (at / f"{number}.png").write_bytes(picture(number))
    with (at / "set.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "label"])
        lines.writerows([f"{number}.png", LABELS[truth]] for number, truth in enumerate(TRUTHS))
    return at / "set.csv"


def cifar10(at: Path) -> Path:
    (at / "test_batch").write_bytes(cifar_pickle({b"labels": list(TRUTHS)}))
    (at / "batches.meta").write_bytes(pickle.dumps({b"label_names": [name.encode() for name in LABELS]}, 2))
    return at


def cifar100(at: Path) -> Path:
    truths = {b"fine_labels": list(TRUTHS), b"coarse_labels": [0] * len(TRUTHS)}
    (at / "test").write_bytes(cifar_pickle(truths))
    names = [name.replace(" ", "_").encode() for name in LABELS]
    (at / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}, 2))
    return at / "test"


FORMS: list[Writer] = [folder, table, cifar10, cifar100]


@pytest.mark.parametrize("write", FORMS)
def test_every_form_gives_the_same_photos_with_the_same_truths(write: Writer, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data, listed = write(tmp_path / "data"), tmp_path / "classes.tsv"
    listed.write_text("".join(f"{i}\t{name}\t{name}\n" for i, name in enumerate(LABELS)))
    items = list(read_items(data))
    for file in (None, listed):
        names = (name for item in items for name in item.classes)
        classes = read_classes(file) if file else classes_in(data, names)
        found = {as_file(item.image): classes.labels[classes.of(item)[0]] for item in items}
        assert found == {picture(number): LABELS[truth] for number, truth in enumerate(TRUTHS)}
    assert len({item.id for item in items}) == len(TRUTHS)


def test_numbers_without_names_ask_for_names(tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match=r"numbers of classes and no names: give the names with --classes"):
        classes_in(tmp_path, ["0", "1"])


def test_a_class_that_is_not_listed_is_said_with_its_item(tmp_path: Path) -> None:
    (item, *_) = read_items(table(tmp_path))
    with pytest.raises(ModelsError, match=r"set\.csv, row 1: there is no class 'red square'. There are 1"):
        classes_in(tmp_path, ["other"]).of(item)


def test_captions_of_one_photo_are_one_item(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('filename,caption\n1.png,one\n1.png,two\n2.png,"three, or four"\n')
    found = [(item.id, item.image, item.captions) for item in read_items(tmp_path / "a.csv")]
    assert found == [
        ("a.csv, row 1", tmp_path / "1.png", ("one", "two")),
        ("a.csv, row 3", tmp_path / "2.png", ("three, or four",)),
    ]


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch owned",)


PICKLES: dict[str, Callable[[Path], object]] = {
    "test_batch": lambda data: list(read_items(data)),
    "batches.meta": lambda data: classes_in(data, []),
}


@pytest.mark.parametrize(("name", "read"), PICKLES.items(), ids=PICKLES)
def test_a_pickle_that_is_a_program_is_not_run(
    name: str, read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cifar10(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps({b"data": Evil(), b"label_names": Evil()}, 2))
    said = r"posix\.system, and only arrays are read"
    with pytest.raises(ModelsError, match=said):
        read(tmp_path)
    assert not (tmp_path / "owned").exists()


DAMAGED = {
    "test_batch": (b"\x80\x02}q\x00.", "it is not a batch of CIFAR"),
    "a.csv": (
        b"path,colour\n1.png,red\n",
        r"a\.csv, row 1 has neither label nor caption: name its column label or caption",
    ),
    "b.csv": (b"picture,label\n1.png,red\n", r"b\.csv, row 1 has no path: name its column one of path, "),
    "a.txt": (b"", r"is neither a folder of photos, CIFAR's files"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_data_that_cannot_be_read_are_said_in_a_line(name: str, tmp_path: Path) -> None:
    content, said = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelsError, match=said):
        list(read_items(tmp_path / name))


def test_a_fortran_array_is_the_same_pixels(tmp_path: Path) -> None:
    rows = np.stack([pixels(i).transpose(2, 0, 1).ravel() for i in range(2)])
    content = pickle.dumps({b"data": np.asfortranarray(rows), b"labels": [0, 1]}, 2)
    (tmp_path / "data_batch_1").write_bytes(content)
    assert [as_file(item.image) for item in read_items(tmp_path / "data_batch_1")] == [picture(0), picture(1)]


def test_photos_without_folders_of_classes_say_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(picture(1))
    with pytest.raises(
        ModelsError, match=r"no folder of photos in it.*into a folder of its name, or give --classes"
    ):
        list(read_items(tmp_path))
    (tmp_path / "dog").mkdir()
    assert not list(read_items(tmp_path)), "an empty class is no fault of its own"
