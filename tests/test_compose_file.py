"""docker-compose.yml and .env.example say the same."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
HAPROXY = (ROOT / "deploy" / "edge" / "haproxy.cfg").read_text()
SHOWN = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
# NAME: its default in the file.
USED = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE))
# Handed on as they are: settings, and arguments of the build.
HANDED_ON = {
    *re.findall(r"^  (CLIPSERVE_[A-Z_]+):$", COMPOSE, re.MULTILINE),
    "BASE_CPU",
    "VERSION",
    "REVISION",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
}


def test_every_variable_of_the_compose_file_is_explained_and_no_other() -> None:
    assert len(USED) > 10
    assert {*USED, *HANDED_ON, "COMPOSE_PROFILES"} == set(SHOWN)


def test_every_variable_has_its_default_shown() -> None:
    without = {"TRITON_IMAGE"}  # the default is a name that no registry has
    assert {name: SHOWN[name] for name in USED if name not in without} == {
        name: default for name, default in USED.items() if name not in without
    }


def test_a_service_of_which_there_can_be_several_has_no_name_and_no_port_of_the_host() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    several = {name: each for name, each in services.items() if "replicas" in each.get("deploy", {})}
    assert set(several) == {"gateway"}
    for name, each in several.items():
        assert not {"ports", "container_name", "hostname"} & set(each)
        edge = services[f"{name}-edge"]
        assert edge["environment"] == {"EDGE_TO": name}, "the edge has the port"
        assert edge["ports"]
        assert edge["profiles"] == each["profiles"]
        assert {"default"} <= set(each["networks"]), "the edge's network"


def test_prometheus_reads_every_gateway() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    serving = {name for name, each in services.items() if "CLIPSERVE_MODELS" in each.get("environment", {})}
    config = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text())
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "clipserve")
    assert {name for each in job["dns_sd_configs"] for name in each["names"]} == serving


def test_prometheus_shows_the_runbook_that_its_alerts_name() -> None:
    service = yaml.safe_load(COMPOSE)["services"]["prometheus"]
    config = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text())
    page = urlsplit(config["global"]["external_labels"]["runbook"])
    (folder,) = re.findall(r"--web.user-assets=(\S+)", " ".join(service["command"]))
    assert service["ports"] == [f"127.0.0.1:${{PROMETHEUS_PORT:-{page.port}}}:9090"]
    assert f"./deploy/README.md:{page.path.replace('/user', folder)}:ro" in service["volumes"]


def test_ports_are_open_to_this_host_alone_unless_a_variable_says_otherwise() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    published = [port for each in services.values() for port in each.get("ports", [])]
    addresses = [re.sub(r"\$\{\w*ADDRESS:-(.+?)\}", r"\1", port).rpartition(":$")[0] for port in published]
    assert len(published) > 4
    assert set(addresses) == {"127.0.0.1"}


def test_a_service_is_given_the_time_to_drain_and_to_answer() -> None:
    grace = int(re.findall(r"stop_grace_period: (\d+)s", COMPOSE)[0])
    delay = int(re.findall(r"CLIPSERVE_DRAIN_DELAY_SECONDS: (\d+)", COMPOSE)[0])
    drain = 25  # CLIPSERVE_DRAIN_SECONDS
    assert grace >= delay + drain + 5
    # The first check that fails comes within a second, the second one half a second later.
    assert len(re.findall(r" inter 1s fastinter 500ms fall 2 ", HAPROXY)) == 2
    assert delay >= 3 * 1.5
