"""The alerts as an object of the Prometheus operator; `make docs` runs this.

deploy/monitoring has them as files of Prometheus, which its own tools test; the object is made of these.
"""

from __future__ import annotations

import yaml

from tests.deploy.manifests import K8S, ROOT, Object

FILES = [ROOT / "deploy" / "monitoring" / name for name in ("recording.yml", "alerts.yml")]
OBJECT = K8S / "components" / "monitoring" / "prometheusrule.yaml"
RUNBOOK = "deploy/README.md"  # as the alerts have it where nothing else is set
_HEAD = "# Made by `make docs` from the files in deploy/monitoring: change those.\n"


def as_yaml() -> str:
    """The object PrometheusRule with all groups of FILES."""
    groups = [group for file in FILES for group in yaml.safe_load(file.read_text())["groups"]]
    labels = {"app.kubernetes.io/name": "clipserve"}
    rule: Object = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "clipserve", "labels": labels, "annotations": {"clipserve/runbook": RUNBOOK}},
        "spec": {"groups": groups},
    }
    text: str = yaml.dump(rule, Dumper=_Plain, sort_keys=False, width=115, allow_unicode=True)
    return _HEAD + text


class _Plain(yaml.SafeDumper):  # type: ignore[misc]  # it has no types
    """Without anchors: what is said twice is written twice, as it reaches the cluster."""

    def ignore_aliases(self, data: object) -> bool:
        return True


if __name__ == "__main__":
    OBJECT.write_text(as_yaml())
