"""What the name of a model stands for."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from clipserve.clip.artifact import ArtifactError
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings
from clipserve.wiring.model_names import NoSuchModel, find, opened, provide
from tests.model_names.exporter import Exporter, left_in
from tests.support.process import copy_of_demo

NAME = Path("ViT-B-32")


def test_without_the_tools_it_says_the_one_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "clipserve_models", None)  # as if it were not installed
    with pytest.raises(
        NoSuchModel, match=r"install what exports it: pip install clipserve, or clipserve-gpu$"
    ):
        provide(NAME, settings)


def test_a_folder_wins_over_a_name(
    settings: Settings, exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ViT-B-32", "demo"):
        os.rename(copy_of_demo(tmp_path), tmp_path / name)
        assert provide(Path(name), settings) == Path(name)
    assert exporter.runs == []


def test_demo_is_the_model_that_ships_and_a_path_is_no_name(settings: Settings, exporter: Exporter) -> None:
    assert find(Path("demo"), settings) == DEMO == Settings().models[0]
    for path in ("/nowhere/ViT-B-32", "../ViT-B-32", "a/b/c", "-v", ".hidden"):
        assert provide(Path(path), settings) == Path(path)  # whoever opens it says what is wrong
    assert exporter.runs == []


@pytest.mark.parametrize("name", ["org/name", "org/name@main", "org/name@refs/pr/7"])
def test_a_repository_of_the_hub_is_exported_by_its_name(
    name: str, settings: Settings, exporter: Exporter, cache: Path
) -> None:
    with pytest.raises(NoSuchModel, match=f"if the hub has it, `clipserve models export {name}` makes it"):
        find(Path(name), settings)
    for _ in range(2):
        assert provide(Path(name), settings) == cache / name.replace("/", "--")
    assert exporter.runs == [f"export {name}"]


def test_a_folder_of_weights_is_exported_again_once_it_has_others(
    settings: Settings, exporter: Exporter, cache: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "fine-tune"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    with pytest.raises(
        NoSuchModel,
        match=f"fine-tune is a folder of weights, of which {cache} has no artifact: `clipserve models export",
    ):
        find(weights, settings)
    first = provide(weights, settings)
    assert provide(weights, settings) == first
    assert (first.parent, first.name.rpartition("-")[0]) == (cache, "fine-tune")
    (weights / "model.safetensors").touch()
    assert provide(weights, settings) != first
    assert exporter.runs == [f"export {weights}"] * 2


def test_weights_without_a_configuration_are_told_by_their_reader(settings: Settings, tmp_path: Path) -> None:
    """The real exporter, which says what is missing; an empty folder has nothing that it could tell."""
    (tmp_path / "weights").mkdir()
    assert provide(tmp_path / "weights", settings) == tmp_path / "weights"
    (tmp_path / "weights/model.safetensors").touch()
    with pytest.raises(
        ArtifactError, match=r"weights has neither config.json nor open_clip_config.json: it is no model"
    ):
        provide(tmp_path / "weights", settings)


@pytest.mark.parametrize("written", ["./models/quik", "../models/quik", "/models/quik", "NAME=./models/quik"])
def test_what_is_written_as_a_folder_is_one_and_no_repository_of_the_hub(
    written: str, settings: Settings, exporter: Exporter
) -> None:
    (model,) = Settings.model_validate({"models": written}).models
    with pytest.raises(ArtifactError, match=r"/models/quik is not an artifact: there is no such folder\."):
        opened([provide(model, settings)])
    assert exporter.runs == []


def test_a_model_may_be_given_another_name(
    settings: Settings, exporter: Exporter, cache: Path, tmp_path: Path
) -> None:
    """Of a folder, or of a name that is exported; a folder that is called so itself is no such pair."""
    demo = copy_of_demo(tmp_path)
    first, second = opened([provide(Path(f"pets={demo}"), settings), provide(Path("v=ViT-B-32"), settings)])
    assert (first.name, first.folder, first.served.name, first.manifest.name) == (
        "pets",
        demo,
        "pets",
        "demo",
    )
    assert (second.name, second.folder) == ("v", cache / "ViT-B-32")
    assert exporter.runs == ["export ViT-B-32"]
    os.rename(demo, tmp_path / "lr=1")
    assert [each.name for each in opened([provide(tmp_path / "lr=1", settings)])] == ["demo"]


def test_two_models_of_one_name_are_told_with_their_folders_and_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, second = copy_of_demo(tmp_path), copy_of_demo(tmp_path / "b")
    with pytest.raises(ArtifactError) as refused:
        opened([first, second])
    assert str(refused.value) == (
        f"{first} and {second} in CLIPSERVE_MODELS are both named demo. Give one of them another name: "
        f"CLIPSERVE_MODELS={first},OTHER={second}"
    )
    assert [each.name for each in opened([first, Path(f"OTHER={second}")])] == ["demo", "OTHER"]
    (both,) = opened([first, Path(f"OTHER={first}")])
    assert (both.name, both.aliases) == ("demo", ("OTHER",))


def test_a_variant_is_found_beside_its_model_and_never_exported(
    settings: Settings, exporter: Exporter, cache: Path
) -> None:
    variant = Path("ViT-B-32@int8")
    for base in ("ViT-B-32", "org/name"):
        with pytest.raises(NoSuchModel, match=rf"models variant {base} --precision int8 --photos PHOTOS`$"):
            provide(Path(f"{base}@int8"), settings)
    os.rename(copy_of_demo(provide(NAME, settings).parent), cache / variant)
    assert provide(variant, settings) == cache / variant
    assert exporter.runs == ["export ViT-B-32"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, exporter: Exporter) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"Not a directory. Name another folder in CLIPSERVE_CACHE_DIR"):
        provide(NAME, Settings(cache_dir=tmp_path / "file/cache"))


def test_what_is_in_the_way_is_kept(
    settings: Settings, exporter: Exporter, cache: Path, written: io.StringIO
) -> None:
    (cache / NAME).mkdir(parents=True)
    (cache / NAME / "mine").touch()
    with pytest.raises(
        ArtifactError, match=r"its export ended with status 1: error: .+ exists and is not an artifact"
    ):
        provide(NAME, settings)
    assert left_in(cache / NAME) == {"mine"}
    assert "model_exported" not in written.getvalue()


def test_the_cache_is_below_the_home_directory_or_where_xdg_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLIPSERVE_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().cache_dir == tmp_path / ".cache/clipserve"
    monkeypatch.setenv("XDG_CACHE_HOME", "/srv/cache")
    assert Settings().cache_dir == Path("/srv/cache/clipserve")
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", "~/models")
    assert Settings().cache_dir == tmp_path / "models"
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", "")
    with pytest.raises(ValidationError, match=r"cache_dir\n.*write a path"):
        Settings()
