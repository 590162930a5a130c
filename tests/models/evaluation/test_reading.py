"""Labelled data of every form: the same photos come out, with the same truths."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from clipserve.client.images import as_file
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.classes import classes_in, read_classes
from clipserve_models.evaluation.reading import read_items
from tests.models.evaluation.data import LABELS, TRUTHS, cifar_pickle, picture, pixels

Writer = Callable[[Path], Path]


def folder(at: Path) -> Path:
    for number, truth in enumerate(TRUTHS):
        (at / LABELS[truth]).mkdir(exist_ok=True)
        (at / LABELS[truth] / f"{number}.png").write_bytes(picture(number))
    (at / "README.md").write_text("no photo")
    return at


def tar(at: Path) -> Path:
    with tarfile.open(at / "set.tar", "w") as archive:
        for number, truth in enumerate(TRUTHS):
            for suffix, content in (("cls", str(truth).encode()), ("png", picture(number))):
                info = tarfile.TarInfo(f"test/{number:04}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return at / "set.tar"


def tar_of_json(at: Path) -> Path:
    with tarfile.open(at / "set.tar.gz", "w:gz") as archive:
        for number, truth in enumerate(TRUTHS):
            told = json.dumps({"label": LABELS[truth]}).encode()
            for suffix, content in (("png", picture(number)), ("json", told)):
                info = tarfile.TarInfo(f"{number:04}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return at / "set.tar.gz"


def parquet_of_bytes(at: Path) -> Path:
    """As the library `datasets` writes it, in a folder of shards."""
    for shard in range(2):
        numbers = range(shard * 3, min(shard * 3 + 3, len(TRUTHS)))
        rows = [{"img": {"bytes": picture(i), "path": None}, "label": TRUTHS[i]} for i in numbers]
        parquet.write_table(pyarrow.Table.from_pylist(rows), at / f"test-{shard}.parquet")
    return at


def parquet_of_paths(at: Path) -> Path:
    rows = []
    for number, truth in enumerate(TRUTHS):
        (at / f"{number}.png").write_bytes(picture(number))
        rows.append({"path": f"{number}.png", "label": LABELS[truth]})
    parquet.write_table(pyarrow.Table.from_pylist(rows), at / "set.parquet")
    return at / "set.parquet"


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


FORMS: list[Writer] = [folder, tar, tar_of_json, parquet_of_bytes, parquet_of_paths, table, cifar10, cifar100]
NUMBERS_ALONE = (tar, parquet_of_bytes)


@pytest.mark.parametrize("write", FORMS)
def test_every_form_gives_the_same_photos_with_the_same_truths(write: Writer, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data, listed = write(tmp_path / "data"), tmp_path / "classes.tsv"
    listed.write_text("".join(f"{i}\t{name}\t{name}\n" for i, name in enumerate(LABELS)))
    items = list(read_items(data))
    own = None if write not in NUMBERS_ALONE else listed
    for file in (own, listed):
        names = (name for item in items for name in item.classes)
        classes = read_classes(file) if file else classes_in(data, names)
        found = {as_file(item.image): classes.labels[classes.of(item)[0]] for item in items}
        assert found == {picture(number): LABELS[truth] for number, truth in enumerate(TRUTHS)}
    assert len({item.id for item in items}) == len(TRUTHS)


def test_numbers_without_names_ask_for_names(tmp_path: Path) -> None:
    data = tar(tmp_path)
    with pytest.raises(ModelsError, match=r"numbers of classes and no names: give the names with --classes"):
        classes_in(data, ["0", "1"])


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
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for name, content in (("x.y.txt", b"one\ntwo\n\n"), ("x.y.png", b"image")):
            info = tarfile.TarInfo(name.replace("x.y", "x"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    (item,) = read_items(tmp_path / "b.tar")
    assert (item.image, item.captions, item.classes) == (b"image", ("one", "two"), ())


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
    "a.tar": (b"no archive" * 100, "cannot be read"),
    "a.parquet": (b"PAR1", "cannot be read"),
    "a.csv": (
        b"path,colour\n1.png,red\n",
        r"a\.csv, row 1 has neither label nor caption: name its column label or caption",
    ),
    "b.csv": (b"picture,label\n1.png,red\n", r"b\.csv, row 1 has no image: name its column one of image, "),
    "a.txt": (b"", r"is not a folder of photos, CIFAR's files"),
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
