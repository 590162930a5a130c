"""Upgrades one after the other: what each leaves, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.cluster import Cluster
from tools.renderings import Values

HUB = "openai/clip-vit-base-patch32"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.shutdown()
    made.server_close()


def refused(cluster: Cluster, words: str, values: Values) -> None:
    before = cluster.objects
    with pytest.raises(AssertionError, match=words):
        cluster.upgrade(values)
    assert cluster.objects is before


def test_a_model_is_changed_by_colors_from_install_to_removal(cluster: Cluster) -> None:
    values: Values = {"model": HUB, "colors": {"blue": {}}, "keys": {"secret": "keys"}}
    cluster.upgrade(values)
    jobs = {name for name in cluster.objects if name.startswith("Job/")}
    values |= {"hubTokenSecret": "hub", "imagePullSecrets": [{"name": "registry"}]}
    cluster.upgrade(values)  # into the pods of Jobs
    assert not jobs & cluster.objects.keys()
    assert cluster.serves() == "blue of blue 2"

    refused(cluster, f"blue serves clients {HUB}, and would change to demo", values | {"model": "demo"})
    refused(cluster, "requests need a key now", values | {"keys": {"secret": ""}})
    both: Values = values | {"colors": {"blue": {}, "green": {"model": "ViT-B-32"}}}
    refused(cluster, "0 of green and 2 of blue", both | {"served": "green"})
    cluster.upgrade(both)
    assert cluster.serves() == "blue of blue 2, green 2"
    cluster.upgrade(values | {"colors": {"blue": {}, "green": {"model": "ViT-L-14"}}})  # it is idle
    cluster.upgrade(both)
    more = {"model": "ViT-L-14"}
    refused(
        cluster,
        "changes green and switches",
        both | {"served": "green", "colors": {"blue": {}, "green": more}},
    )
    refused(
        cluster, "clients reach blue", both | {"served": "green", "colors": {"green": {"model": "ViT-B-32"}}}
    )

    blue, green = (cluster.objects[f"Deployment/clipserve-{color}"]["spec"] for color in ("blue", "green"))
    cluster.upgrade(both | {"served": "green"})
    assert cluster.serves() == "green of blue 2, green 2"
    assert cluster.objects["Deployment/clipserve-green"]["spec"] == green
    left = cluster.objects["Deployment/clipserve-blue"]["spec"]
    assert left["template"]["metadata"]["annotations"].pop("clipserve/left")  # rolls blue: connections end
    assert left == blue
    cluster.upgrade(both)  # a file that does not say what is served
    assert cluster.serves() == "green of blue 2, green 2"
    refused(cluster, '"green" is to be served, and is none of the colors', {})
    cluster.upgrade(both | {"served": "blue"})
    cluster.rollback()
    assert cluster.serves() == "green of blue 2, green 2"
    cluster.upgrade(values | {"colors": {"green": {"model": "ViT-B-32"}}})
    assert cluster.serves() == "green of green 2"
    cluster.upgrade(values | {"colors": {"green": more}, "force": True})


def test_an_autoscaler_starts_with_the_pods_that_are_there(cluster: Cluster) -> None:
    cluster.upgrade({"gateway": {"replicas": 5}})
    scaled: Values = {"gateway": {"replicas": 5, "autoscaling": {"enabled": True}}}
    cluster.upgrade(scaled)
    assert cluster.serves() == "blue of blue 5"
    cluster.scale("clipserve-blue", 9)
    cluster.upgrade(scaled | {"settings": {"CLIPSERVE_MAX_QUEUE_SECONDS": 2}})
    assert cluster.serves() == "blue of blue 9"
