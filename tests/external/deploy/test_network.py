"""What the network policies let through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.manifests import Object, of_kind
from tools.renderings import render

Objects = dict[str, list[Object]]


@pytest.mark.parametrize(
    ("values", "port"),
    [
        pytest.param(
            {"redis": {"enabled": True, "external": True, "port": 6390}}, 6390, id="a Redis of yours"
        ),
        pytest.param(
            {"settings": {"CLIPSERVE_REDIS_URL": "redis://cache:6380/1"}}, 6380, id="a URL of Redis"
        ),
        pytest.param(
            {
                "gateway": {
                    "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://traces:4320"}]
                }
            },
            4320,
            id="a collector",
        ),
        pytest.param({"settings": {"CLIPSERVE_IMAGE_HOSTS": "photos.example.com"}}, 80, id="image hosts"),
        pytest.param({"settings": {"CLIPSERVE_MODELS": "demo,ViT-B-32"}}, 443, id="a model of the hub"),
    ],
)
def test_the_network_lets_through_what_is_configured(values: Any, port: int, tmp_path: Path) -> None:
    def ports(objects: list[Object]) -> set[int]:
        policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "NetworkPolicy")}
        entries = policies["clipserve-gateway"]["egress"]
        return {one["port"] for entry in entries for one in entry["ports"]}

    assert ports(render({}, tmp_path)) == {53}
    assert port in ports(render(values, tmp_path))


def test_a_gateway_reaches_image_hosts_where_that_is_said_and_nothing_inside(objects: Objects) -> None:
    assert "ipBlock" not in yaml.safe_dump(of_kind(objects["cpu"], "NetworkPolicy"))
    (policy,) = (
        each
        for each in of_kind(objects["everything"], "NetworkPolicy")
        if each["metadata"]["name"] == "clipserve-gateway"
    )
    blocks = [
        peer["ipBlock"]
        for entry in policy["spec"]["egress"]
        for peer in entry.get("to", [])
        if "ipBlock" in peer
    ]
    assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= set(blocks[0]["except"])
