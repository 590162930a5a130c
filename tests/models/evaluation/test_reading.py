"""Labelled data of every form: the same photos come out, with the same truths, among classes by name or file."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clipserve.client.images import as_file
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.classes import classes_in, read_classes
from clipserve_models.evaluation.data import Item, read_items
from tests.models.pickle_attacks import Runs

Writer = Callable[[Path], Path]
LABELS = ("red square", "blue circle", "green line")
TRUTHS = (0, 2, 1, 1, 0)


def pixels(number: int) -> npt.NDArray[np.uint8]:
    """uint8 [32, 32, 3]."""
    return np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def picture(number: int) -> bytes:
    """The same as PNG."""
    return as_file(pixels(number))


def cifar_pickle(truths: dict[bytes, Any]) -> bytes:
    """A batch of CIFAR, with these truths."""
    count = len(next(iter(truths.values())))
    rows = np.stack([pixels(number).transpose(2, 0, 1).ravel() for number in range(count)])
    return pickle.dumps({b"batch_label": b"testing batch", b"data": rows, **truths}, 2)


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
        rows = [[f"{number}.png", LABELS[truth]] for number, truth in enumerate(TRUTHS)]
        csv.writer(file).writerows([["path", "label"], *rows])
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


def of_fortran(at: Path) -> Path:
    """Rows that are columns in memory."""
    rows = np.stack([pixels(number).transpose(2, 0, 1).ravel() for number in range(len(TRUTHS))])
    cifar10(at)
    content = pickle.dumps({b"data": np.asfortranarray(rows), b"labels": list(TRUTHS)}, 2)
    (at / "test_batch").write_bytes(content)
    return at


@pytest.mark.parametrize("write", [folder, table, cifar10, cifar100, of_fortran])
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


def test_captions_of_one_photo_are_one_item(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('filename,caption\n1.png,one\n1.png,two\n2.png,"three, or four"\n')
    found = [(item.id, item.image, item.captions) for item in read_items(tmp_path / "a.csv")]
    assert found == [
        ("a.csv, row 1", tmp_path / "1.png", ("one", "two")),
        ("a.csv, row 3", tmp_path / "2.png", ("three, or four",)),
    ]


def test_a_class_is_called_by_its_label_its_number_or_its_key(tmp_path: Path) -> None:
    (tmp_path / "classes.tsv").write_text("0\tn1\tbald eagle\n1\tn2\tcrane\n2\tn3\tcrane\n3\tn4\ttench\n")
    classes = read_classes(tmp_path / "classes.tsv")
    assert classes.labels == ("bald eagle", "crane", "tench")
    item = Item("x", b"", ("bald eagle", "bald_eagle", "0", "n1", "2", "n2", "tench", "3"))
    assert classes.of(item) == [0, 0, 0, 0, 1, 1, 2, 2]
    with pytest.raises(ModelsError, match="x has no class, but other items have one"):
        classes.of(Item("x", b"", (), ("a caption",)))
    with pytest.raises(ModelsError, match=r"x: there is no class 'red'. There are 3"):
        classes.of(Item("x", b"", ("red",)))
    with pytest.raises(ModelsError, match=r"numbers of classes and no names: give the names with --classes"):
        classes_in(tmp_path, ["0", "1"])


def test_photos_with_a_number_for_a_name_are_not_of_the_class_of_that_number(tmp_path: Path) -> None:
    for name in (
        "cat/1.png",
        "other/0.png",
        "other/1.png",
        "other/1_a.png",
        "other/cat.png",
        "other/cat_1.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(0))
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    keys = read_classes(tmp_path / "labels.txt").keys
    assert [item.id for item in read_items(tmp_path, keys)] == [
        "cat/1.png",
        "other/1_a.png",
        "other/cat.png",
        "other/cat_1.png",
    ]


def test_a_file_of_labels_and_the_name_of_a_data_set_are_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("aeroplane\n\nbald eagle\n")
    assert read_classes(tmp_path / "labels.txt").labels == ("aeroplane", "bald eagle")
    assert read_classes("cifar10").labels[:3] == ("airplane", "automobile", "bird")
    for none in ("cifar11", "imagenet-80"):  # the latter has templates and no class names
        with pytest.raises(ModelsError, match=f"{none} is neither a file of classes .*: birdsnap, "):
            read_classes(none)
    (tmp_path / "two.tsv").write_text("0\tcat\n")
    with pytest.raises(ModelsError, match=r"two\.tsv, line 1: expected index, key and label"):
        read_classes(tmp_path / "two.tsv")


EVIL = pickle.dumps({b"data": Runs(), b"label_names": Runs()}, 2)
DAMAGED = [
    ("test_batch", EVIL, r"posix\.system, and only arrays are read"),
    ("batches.meta", EVIL, r"posix\.system, and only arrays are read"),
    ("test_batch", b"\x80\x02}q\x00.", "it is not a batch of CIFAR"),
    ("a.csv", b"path,colour\n1.png,red\n", r"a\.csv, row 1 has neither label nor caption: name its column"),
    ("b.csv", b"picture,label\n1.png,red\n", r"b\.csv, row 1 has no path: name its column one of path, "),
    ("a.txt", b"", r"is neither a folder of photos, CIFAR's files"),
    ("photos/1.png", b"", r"no folder of photos in it.*into a folder of its name, or give --classes"),
]


@pytest.mark.parametrize(("name", "content", "said"), DAMAGED)
def test_data_that_cannot_be_read_are_said_in_a_line_and_not_run(
    name: str, content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    data = tmp_path / name
    with pytest.raises(ModelsError, match=said):
        classes_in(tmp_path, []) if name == "batches.meta" else list(
            read_items(data.parent if "/" in name else data)
        )
    assert not (tmp_path / "ran").exists()
