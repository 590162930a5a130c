"""An installation is a folder of the operator's around the product, which no edit changes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.deploy.builds import Build, build
from tests.deploy.manifests import K8S, gateways, gpus, parsed, pods, run


@pytest.mark.parametrize("part", ["autoscaling", "autoscaling-cpu", "model-pvc", "model-image-volume"])
@pytest.mark.parametrize("overlay", ["blue-green", "blue-green-gpu"])
def test_what_belongs_to_a_color_fails_the_build_outside_of_two(
    overlay: str, part: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="multiple"):
        build(Build(overlay, (part,)), K8S, tmp_path)


def test_a_setting_outside_of_two_colors_fails_the_build(tmp_path: Path) -> None:
    setting = {"name": "clipserve", "behavior": "merge", "literals": ["CLIPSERVE_MAX_QUEUE_SECONDS=2"]}
    with pytest.raises(AssertionError, match="multiple"):
        build(Build("blue-green", settings=(("configMapGenerator", [setting]),)), K8S, tmp_path)


def test_a_tag_outside_does_not_reach_a_color_that_names_its_image(tmp_path: Path) -> None:
    outside = [{"name": "clipserve", "newName": "YOUR.REGISTRY/clipserve", "newTag": "0.1.0"}]
    build(Build("blue-green", settings=(("images", outside),)), K8S, tmp_path)
    image = "clipserve=YOUR.REGISTRY/clipserve:0.2.0"
    run("kustomize", "edit", "set", "image", image, cwd=tmp_path / "green")
    built = parsed(run("kustomize", "build", tmp_path))
    images = {each.labels["clipserve/color"]: container["image"] for each, container in gateways(built)}
    assert images == {"blue": "YOUR.REGISTRY/clipserve:0.1.0", "green": "YOUR.REGISTRY/clipserve:0.2.0"}


def test_a_tag_of_the_repository_is_a_base_as_a_copied_folder_is(tmp_path: Path) -> None:
    repository, here = tmp_path / "repository", tmp_path / "installation"
    shutil.copytree(K8S, repository / "deploy" / "k8s")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(repository)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"], ["tag", "v0.1.0"]):
        run(*git, *words)
    build(Build("blue-green", ("keys",), ("autoscaling",)), K8S, here_of(here))
    copied = run("kustomize", "build", here)
    shutil.rmtree(here / "k8s")
    for file in here.rglob("kustomization.yaml"):
        remote = rf"file://{repository}//deploy/k8s/\1?ref=v0.1.0"
        file.write_text(re.sub(r"(?:\.\./)?k8s/(\S+)", remote, file.read_text()))
    assert run("kustomize", "build", here) == copied


def here_of(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_key_of_plans_is_set_outside(tmp_path: Path) -> None:
    settings = {"name": "plans-key", "literals": ["GPU=NVIDIA-L4", "TENSORRT=27.01", "MODEL=mine"]}
    plans = Build(
        "gpu",
        ("tensorrt",),
        resources=("components/tensorrt/plans",),
        settings=(("configMapGenerator", [settings]),),
    )
    built = [each for each in pods(parsed(build(plans, K8S, tmp_path))) if gpus(each)]
    assert [each.spec["nodeSelector"] for each in built] == [{"nvidia.com/gpu.product": "NVIDIA-L4"}] * 2
    values = [one for each in built for container in each.all_containers for one in container.get("env", [])]
    folders = [one["value"] for one in values if one["name"] == "FOLDER"]
    assert folders == ["/plans/NVIDIA-L4/27.01/mine"] * 5


def test_plans_without_a_key_fail_the_build(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="plans-key"):
        build(Build("gpu", ("tensorrt",)), K8S, tmp_path)


def test_no_page_tells_to_edit_a_file_of_the_product() -> None:
    for page in (*K8S.rglob("README.md"), *(K8S.parents[1] / "docs").glob("kubernetes*.md")):
        for line in page.read_text().splitlines():
            edits = re.search(r"(sed -i .*|cd |> ?)k8s/", line)
            assert not edits, f"{page}: {line}"
