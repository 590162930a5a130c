"""What the components for GPUs are for: slices, memory that a pod shares, storage elsewhere, scaled Tritons."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from clipserve.engine.triton.contract import CALL_ROWS
from tests.deploy.builds import KEY, Build, build
from tests.deploy.manifests import (
    K8S,
    Object,
    gpus,
    of_kind,
    parsed,
    pods,
    quantity,
    run,
    selects,
    settings_of,
)
from tests.external.deploy.test_promtool import promtool_test

SLICES = re.findall(
    r"(?<=\n\n)(?: {4}.*\n)+", (K8S / "components/mig/README.md").read_text()
)  # for another profile, for time-slicing
_PLANS = {
    "name": "plans-key",
    "literals": [f"{name}={value}" for name, value in KEY.items()],
    "options": {"disableNameSuffixHash": True},
}
CALLS = 4  # of images at a time, each with pixels in memory of its own


def asked(one: Object) -> set[tuple[str, str]]:
    """The GPUs or slices that the containers of an object ask for, and the label of their node."""
    (pod,) = pods([one])
    labels = {key for key in pod.spec.get("nodeSelector", {}) if key.startswith("nvidia.com/")}
    limits = [container["resources"]["limits"] for container in pod.all_containers]
    return {(name, label) for limit in limits for name in limit if "/" in name for label in labels}


@pytest.mark.parametrize(
    ("edits", "resource", "label"),
    [
        (["kustomize edit add component k8s/components/mig"], "mig-1g.10gb", "mig-1g.10gb.product"),
        ([SLICES[0]], "mig-3g.40gb", "mig-3g.40gb.product"),
        ([SLICES[1]], "gpu.shared", "gpu.product"),
    ],
)
def test_pods_ask_for_a_slice_and_plans_are_keyed_by_it(
    edits: list[str], resource: str, label: str, tmp_path: Path
) -> None:
    plans = ("components/tensorrt/plans",)
    build(
        Build("gpu", ("tensorrt",), resources=plans, settings=(("configMapGenerator", [_PLANS]),)),
        K8S,
        tmp_path,
    )
    for edit in edits:
        subprocess.run(["bash", "-ec", textwrap.dedent(edit)], cwd=tmp_path, check=True)
    users = [pod.owner for pod in pods(parsed(run("kustomize", "build", tmp_path))) if gpus(pod)]
    assert len(users) == 2, "Triton, and the Job that builds its plans"
    for each in users:
        assert asked(each) == {(f"nvidia.com/{resource}", f"nvidia.com/{label}")}


def test_gateway_and_triton_of_one_pod_share_memory_and_a_user(objects: dict[str, list[Object]]) -> None:
    (pod,) = pods(objects["gpu+one-pod"])
    (gateway,), (triton,) = pod.containers, pod.sidecars
    volumes = {each["name"]: each for each in pod.spec["volumes"]}
    shared = {
        name: [mount["name"] for mount in each["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
        for name, each in (("gateway", gateway), ("triton", triton))
    }
    assert shared == {"gateway": ["pixels"], "triton": ["pixels"]}
    assert volumes["pixels"]["emptyDir"]["medium"] == "Memory"
    assert not {"runAsUser", "runAsGroup"} & {*gateway["securityContext"], *triton["securityContext"]}
    (alone,) = (each for each in pods(objects["gpu"]) if each.name == "Deployment/triton")
    assert triton["args"] == [*alone.containers[0]["args"], "--allow-client-shm=true"]
    assert settings_of(gateway, objects["gpu+one-pod"])["CLIPSERVE_TRITON_URL"] == "127.0.0.1:8001"


def test_the_shared_memory_of_a_pod_holds_all_calls_of_the_largest_usual_images(
    objects: dict[str, list[Object]],
) -> None:
    (pod,) = pods(objects["gpu+one-pod"])
    (size,) = (each["emptyDir"]["sizeLimit"] for each in pod.spec["volumes"] if each["name"] == "pixels")
    assert quantity(size) > CALLS * CALL_ROWS["image"] * 384 * 384 * 3


def test_nothing_is_left_of_tritons_of_their_own_and_their_metrics_are_read(
    objects: dict[str, list[Object]],
) -> None:
    built = objects["gpu one-pod around"]
    assert not [
        each for each in built if "triton" in each["metadata"]["name"] and each["kind"] != "PodMonitor"
    ]
    (monitor,) = (each for each in of_kind(built, "PodMonitor") if each["metadata"]["name"] == "triton")
    (pod,) = pods(built)
    assert selects(monitor["spec"]["selector"], pod.labels)


@pytest.mark.parametrize("name", ["gpu-in-process around", "gpu one-pod around"])
def test_a_gateway_with_a_slice_has_the_runtime_of_nvidia(
    name: str, objects: dict[str, list[Object]]
) -> None:
    (pod,) = pods(objects[name])
    assert (gpus(pod), pod.spec["runtimeClassName"]) == (1, "nvidia")


def test_a_gateway_with_the_model_on_its_gpu_does_not_start_without_one(
    objects: dict[str, list[Object]],
) -> None:
    (pod,) = pods(objects["gpu-in-process"])
    settings = settings_of(pod.containers[0], objects["gpu-in-process"])
    assert (settings["CLIPSERVE_BACKEND"], settings["CLIPSERVE_DEVICE"]) == ("onnx", "cuda")
    assert pod.containers[0]["image"].endswith("-gpu")


def test_a_repository_in_object_storage_is_written_by_nobody_here(objects: dict[str, list[Object]]) -> None:
    (pod,) = (each for each in pods(objects["gpu+object-storage"]) if each.name == "Deployment/triton")
    assert not pod.spec.get("initContainers")
    assert pod.containers[0]["args"][1] == "--model-repository=s3://BUCKET/repository"


@pytest.mark.parametrize(
    ("values", "pending"),
    [(["0x10", "0x10"], 0), (["3x10", "5x10"], 8), ([], None)],  # None: KEDA keeps the number
)
def test_tritons_are_scaled_by_all_calls_that_wait_in_them(
    values: list[str], pending: float | None, objects: dict[str, list[Object]], tmp_path: Path
) -> None:
    (scaled,) = of_kind(objects["gpu+autoscaling-triton"], "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    name = 'nv_inference_pending_request_count{{namespace="{}",clipserve_color="",instance="{}"}}'
    series: list[dict[str, Any]] = [
        {"series": name.format("clipserve", number).replace('clipserve_color="",', ""), "values": value}
        for number, value in enumerate(values)
    ]
    series.append({"series": name.format("elsewhere", 0), "values": "9x10"})
    samples = [] if pending is None else [{"labels": "{}", "value": pending}]
    question = {"expr": trigger["metadata"]["query"], "eval_time": "10m", "exp_samples": samples}
    promtool_test(tmp_path, {"input_series": series, "promql_expr_test": [question]})


def test_kserve_runs_triton_as_the_overlay_does(objects: dict[str, list[Object]]) -> None:
    text = (K8S.parents[1] / "docs/kubernetes-gpu.md").read_text()
    (service,) = parsed(re.findall(r"^```yaml\n(.+?)^```$", text, re.MULTILINE | re.DOTALL)[0])
    (triton,) = (each for each in pods(objects["gpu"]) if each.name == "Deployment/triton")
    ours, theirs = triton.containers[0], service["spec"]["predictor"]["containers"][0]
    assert [word.replace("/mnt/models", "/repository") for word in theirs["args"]] == ours["args"]
    assert theirs["image"] == f"nvcr.io/nvidia/{ours['image']}"
    assert theirs["resources"]["limits"] == ours["resources"]["limits"]
    (port,) = theirs["ports"]
    policies = [
        each
        for each in of_kind(objects["gpu"], "NetworkPolicy")
        if selects(each["spec"]["podSelector"], service["spec"]["predictor"]["labels"])
        and each["spec"]["podSelector"]
    ]
    assert [rule["ports"][0]["port"] for each in policies for rule in each["spec"]["ingress"]] == [
        port["containerPort"]
    ]
    assert f"`CLIPSERVE_TRITON_URL={service['metadata']['name']}-predictor:{port['containerPort']}`" in text
