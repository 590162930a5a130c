"""The dashboard is one that Grafana can show anywhere: numbers and variables."""

from __future__ import annotations

import json
import re

from tests.monitoring.files import DASHBOARD, FOLDER, panels, queries, read


def test_panels_have_numbers_of_their_own() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_dashboard_names_no_data_source_job_or_instance_but_by_its_variables() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource", "job", "instance"]
    assert set(re.findall(r'"uid": "([^"]*)"', DASHBOARD.read_text())) == {"clipserve", "${datasource}"}
    assert set(re.findall(r"\$([a-z_]\w*)", " ".join(query.expression for query in queries()))) == {
        "job",
        "instance",
        "__rate_interval",
    }
    for query in queries():
        own = re.findall(r"\bclipserve_\w+{([^}]*)}", query.expression)
        assert all('job=~"$job", instance=~"$instance"' in selector for selector in own), query.panel


def test_the_data_source_asks_as_often_as_prometheus_scrapes() -> None:
    (source,) = read(FOLDER / "grafana/provisioning/datasources/prometheus.yml")["datasources"]
    interval = read(FOLDER / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
