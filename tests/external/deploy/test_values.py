"""What values make of the chart: what a second day on a cluster found wrong before, a row each."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import yaml

from clipserve import __version__
from tools.manifests import ROOT, TOOLS, Object, of_kind, pods, run, settings_of, title
from tools.renderings import CHART, RENDERED, RENDERINGS, render, rendered

Objects = dict[str, list[Object]]


def deployment(objects: list[Object], name: str) -> Any:
    return next(each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == name)


def settings(objects: list[Object], name: str = "clipserve-blue") -> dict[str, str]:
    return settings_of(deployment(objects, name)["spec"]["template"]["spec"]["containers"][0], objects)


def test_the_file_for_those_without_helm_is_what_the_chart_makes() -> None:
    """`make rendered` writes it."""
    assert RENDERED.read_text() == rendered()


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_helm_finds_nothing_to_say_of_a_release_with_all_parts(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(RENDERINGS["everything"]))
    run(TOOLS / "bin" / "helm", "lint", "--strict", CHART, "--values", tmp_path / "values.yaml")


def test_a_color_has_what_stands_under_its_name_and_else_what_all_have(tmp_path: Path) -> None:
    """An image, a model, a setting and a number of pods are of one color or of both."""
    made = render(
        {
            "settings": {"CLIPSERVE_MAX_QUEUE_SECONDS": 2, "CLIPSERVE_MAX_IN_FLIGHT_BYTES": 256000000},
            "keys": {"secret": "keys"},
            "colors": {
                "blue": {},
                "green": {
                    "modelVolume": {"path": "v2"},
                    "image": {"tag": "9"},
                    "gateway": {"replicas": 5},
                    "settings": {"CLIPSERVE_MAX_QUEUE_SECONDS": 3},
                },
            },
        },
        tmp_path,
    )
    blue, green = settings(made), settings(made, "clipserve-green")
    assert (blue["CLIPSERVE_MODELS"], green["CLIPSERVE_MODELS"]) == ("/app/demo", "/models/v2")
    assert (blue["CLIPSERVE_MAX_QUEUE_SECONDS"], green["CLIPSERVE_MAX_QUEUE_SECONDS"]) == ("2", "3")
    for each in (blue, green):
        assert each["CLIPSERVE_MAX_IN_FLIGHT_BYTES"] == "256000000"
        assert each["CLIPSERVE_KEYS_FILE"] == "/etc/clipserve/keys/keys"
    assert deployment(made, "clipserve-green")["spec"]["replicas"] == 5
    image = deployment(made, "clipserve-green")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "clipserve:9"


def test_a_switch_changes_the_services_alone(tmp_path: Path) -> None:
    """No pod is started or stopped by it, and nothing of the other color changes."""
    before, after = (
        render({"colors": {"blue": {}, "green": {}}, "served": color}, tmp_path)
        for color in ("blue", "green")
    )
    changed = [title(one) for one, other in zip(before, after, strict=True) if one != other]
    assert changed == ["Service/clipserve", "Service/clipserve-pods"]


def test_a_color_that_goes_takes_its_own_objects_along_and_no_others(tmp_path: Path) -> None:
    both = render({"colors": {"blue": {}, "green": {}}, "served": "green"}, tmp_path)
    green = render({"colors": {"green": {}}, "served": "green"}, tmp_path)
    assert all(each in both for each in green)
    gone = {title(each) for each in both if each not in green}
    assert gone == {
        "ConfigMap/clipserve-blue",
        "Deployment/clipserve-blue",
        "PodDisruptionBudget/clipserve-blue",
    }


def test_an_upgrade_of_the_chart_keeps_names_and_selectors(tmp_path: Path) -> None:
    """The API server refuses another selector, and a budget of another name would be a second one."""
    values = RENDERINGS["everything"]
    newer = tmp_path / "chart"
    shutil.copytree(CHART, newer)
    text = (newer / "Chart.yaml").read_text().replace(__version__, "9.9.9")
    (newer / "Chart.yaml").write_text(text)
    made = render(values, tmp_path, chart=newer)
    before = render(values, tmp_path)

    def kept(objects: list[Object]) -> dict[str, Any]:
        return {
            title(each): each["spec"].get("selector")
            for each in objects
            if each["kind"] != "Job" and "spec" in each
        }

    assert kept(made) == kept(before)
    deployments = of_kind(made, "Deployment")
    assert deployments != []
    images = {one["image"] for each in pods(deployments) for one in each.all_containers}
    assert "clipserve:9.9.9" in images


def test_a_job_has_another_name_where_it_would_make_something_else(tmp_path: Path) -> None:
    """The template of a Job cannot be changed."""
    values = copy.deepcopy(RENDERINGS["everything"])

    def jobs() -> set[str]:
        return {each["metadata"]["name"] for each in of_kind(render(values, tmp_path), "Job")}

    first = jobs()
    values["triton"]["tensorrt"] = values["triton"]["tensorrt"] | {
        "image": "nvcr.io/nvidia/tensorrt:26.06-py3"
    }
    second = jobs()
    assert {name.rpartition("-")[0] for name in first ^ second} == {
        "clipserve-plans-blue",
        "clipserve-plans-green",
    }
    values["image"] = {"tag": "9"}
    assert not jobs() & second


def test_one_pod_takes_the_artifacts_of_all_colors_that_share_a_volume(tmp_path: Path) -> None:
    """One command copies them; an image of another version is another Job."""
    colors = {name: {"modelVolume": {"path": name, "fill": True}} for name in ("blue", "green")}
    (job,) = of_kind(render({"colors": colors}, tmp_path), "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["blue", "green"]
    (other,) = of_kind(render({"colors": colors, "image": {"tag": "9"}}, tmp_path), "Job")
    assert other["metadata"]["name"] != job["metadata"]["name"]


def test_a_release_of_another_name_and_namespace_is_about_itself_alone(tmp_path: Path) -> None:
    """Two releases in one cluster share nothing."""
    one, other = (render(RENDERINGS["everything"], tmp_path, release=name) for name in ("clipserve", "other"))
    assert not {title(each) for each in one} & {title(each) for each in other}
    assert all("other" in each["metadata"]["name"] for each in other)
    recorded = yaml.safe_dump(of_kind(other, "PrometheusRule"))
    assert "other-clipserve(-pods|-edge)" in recorded
    assert '"clipserve(-pods|-edge)' not in recorded


def test_users_are_fixed_but_on_openshift(objects: Objects) -> None:
    for name, all_of in objects.items():
        fixed = {"runAsUser" in each.spec["securityContext"] for each in pods(all_of)}
        assert fixed == {name != "openshift"}, name


def test_a_setting_in_the_values_is_the_one_that_pods_get(tmp_path: Path) -> None:
    """Also one that the chart computes, and also 0 and ""; what follows from a setting moves with it."""
    own = {"THREADS": 3, "REDIS_URL": "redis://cache:6380/1", "DRAIN_DELAY_SECONDS": 0, "DRAIN_SECONDS": 120}
    own |= {"TRUSTED_PROXIES": "", "DEADLINE_SECONDS": 60, "MAX_BODY_BYTES": 40000000}
    values = {"settings": {f"CLIPSERVE_{name}": value for name, value in own.items()}}
    values |= {"redis": {"enabled": True}, "edge": {"type": "gateway", "className": "eg"}}
    made = render(values, tmp_path)
    assert settings(made).items() >= {f"CLIPSERVE_{name}": str(value) for name, value in own.items()}.items()
    spec = deployment(made, "clipserve-blue")["spec"]["template"]["spec"]
    assert [one["name"] for one in spec["containers"][0]["env"]] == ["CLIPSERVE_DECODE_THREADS"]
    assert spec["terminationGracePeriodSeconds"] == 130
    assert of_kind(made, "HTTPRoute")[0]["spec"]["rules"][0]["timeouts"] == {"request": "95s"}


def test_an_autoscaler_keeps_at_least_the_number_of_before(tmp_path: Path) -> None:
    made = render({"gateway": {"replicas": 5, "autoscaling": {"enabled": True}}}, tmp_path)
    assert of_kind(made, "HorizontalPodAutoscaler")[0]["spec"]["minReplicas"] == 5


def test_long_names_stay_apart(tmp_path: Path) -> None:
    """Of releases, by their last letter; no name is longer than a label may be."""
    made = [render(RENDERINGS["everything"], tmp_path, release="a" * 52 + last) for last in "bc"]
    names = [{title(each) for each in objects} for objects in made]
    assert not names[0] & names[1]
    assert max(len(each["metadata"]["name"]) for each in made[0]) <= 63


def test_gpus_are_asked_for_by_triton_and_its_plans_on_nodes_of_their_kind(objects: Objects) -> None:
    for each in pods(objects["plans on slices"]):
        asked = {name for one in each.all_containers for name in one["resources"]["limits"] if "/" in name}
        if each.labels["app.kubernetes.io/component"] == "gateway":
            assert asked == set()
        else:
            assert asked == {"nvidia.com/mig-1g.10gb"}
            assert each.spec["nodeSelector"] == {"nvidia.com/mig-1g.10gb.product": "NVIDIA-L4"}
    assert "nvidia" not in yaml.safe_dump(objects["cpu"])


def test_the_release_workflow_packages_the_chart_with_its_digest(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "helm").symlink_to(TOOLS / "bin" / "helm")
    image = "registry/clipserve@sha256:" + "2" * 64
    run("env", f"PATH={folder}:/usr/bin:/bin", ROOT / ".ci" / "chart", image, cwd=tmp_path)
    (package,) = tmp_path.glob("clipserve-*.tgz")
    assert f"image: {image}" in run(TOOLS / "bin" / "helm", "template", "clipserve", package)
