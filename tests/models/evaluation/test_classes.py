"""Classes and templates by a file or by a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.classes import read_classes
from clipserve_models.evaluation.data import Item


def test_a_class_is_called_by_its_label_its_number_or_its_key(tmp_path: Path) -> None:
    (tmp_path / "classes.tsv").write_text("0\tn1\tbald eagle\n1\tn2\tcrane\n2\tn3\tcrane\n3\tn4\ttench\n")
    classes = read_classes(tmp_path / "classes.tsv")
    assert (len(classes.names), classes.labels) == (4, ("bald eagle", "crane", "tench"))
    item = Item("x", b"", ("bald eagle", "bald_eagle", "0", "n1", "2", "n2", "tench", "3"))
    assert classes.of(item) == [0, 0, 0, 0, 1, 1, 2, 2]
    with pytest.raises(ModelsError, match="x has no class, but other items have one"):
        classes.of(Item("x", b"", (), ("a caption",)))


def test_a_file_of_labels_and_the_name_of_a_data_set_are_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("aeroplane\n\nbald eagle\n")
    assert read_classes(tmp_path / "labels.txt").labels == ("aeroplane", "bald eagle")
    assert read_classes("cifar10").labels[:3] == ("airplane", "automobile", "bird")
    for none in ("cifar11", "imagenet-80"):  # the latter has templates and no class names
        with pytest.raises(
            ModelsError, match=f"{none} is neither a file of classes nor a data set .*: birdsnap, "
        ):
            read_classes(none)
    (tmp_path / "two.tsv").write_text("0\tcat\n")
    with pytest.raises(ModelsError, match=r"two\.tsv, line 1: expected index, key and label"):
        read_classes(tmp_path / "two.tsv")
