"""A stand-in of a cluster: Helm's `lookup` reads its objects over HTTP, and it knows the fields that are immutable.

Pods of Deployments are ready at once. What a real API server checks and fills in is tried by `make cluster`.
"""

from __future__ import annotations

import copy
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tools.manifests import TOOLS, Object, parsed, run, title
from tools.renderings import CHART, Values

# Those that Helm may ask for: version of the API -> path segment -> kind.
_KINDS = {
    "v1": {
        "services": "Service",
        "configmaps": "ConfigMap",
        "serviceaccounts": "ServiceAccount",
        "persistentvolumeclaims": "PersistentVolumeClaim",
    },
    "apps/v1": {"deployments": "Deployment"},
    "batch/v1": {"jobs": "Job"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "autoscaling/v2": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
}
_IMMUTABLE = {
    "Job": ("template",),
    "Deployment": ("selector",),
    "StatefulSet": ("selector", "serviceName", "volumeClaimTemplates"),
    "PersistentVolumeClaim": ("accessModes", "storageClassName", "resources"),
}
Objects = dict[str, Object]  # by `Kind/name`


class Cluster(ThreadingHTTPServer):
    """A namespace, `clipserve`, with one release of the chart."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.objects: Objects = {}
        self.history: list[Objects] = []  # what each upgrade applied
        named = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.server_address[1]}"}}
        context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
        me = [{"name": "me", "user": {}}]
        config = {"clusters": [named], "contexts": [context], "users": me, "current-context": "here"}
        (folder / "kubeconfig").write_text(json.dumps(config))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def upgrade(self, values: Values) -> None:
        """Raises AssertionError with Helm's sentence, or the server's, and then changes nothing."""
        (self.folder / "values.yaml").write_text(yaml.safe_dump(values))
        options = (
            "--namespace=clipserve",
            "--dry-run=server",
            "--disable-openapi-validation",
            "--skip-tests",
        )
        given = (f"--kubeconfig={self.folder / 'kubeconfig'}", f"--values={self.folder / 'values.yaml'}")
        made = parsed(run(TOOLS / "bin" / "helm", "template", "clipserve", CHART, *options, *given))
        self.apply({title(each): each for each in made})

    def rollback(self) -> None:
        """Applies what the upgrade before the last one did."""
        self.apply(self.history[-2])

    def apply(self, made: Objects) -> None:
        for name, new in made.items():
            for field in _IMMUTABLE.get(new["kind"], ()) if name in self.objects else ():
                same = new["spec"].get(field) == self.objects[name]["spec"].get(field)
                assert same, f"{name} is invalid: spec.{field}: field is immutable"
        self.history.append(made)
        self.objects = copy.deepcopy(made)
        for each in self.objects.values():
            owner = {"meta.helm.sh/release-name": "clipserve", "meta.helm.sh/release-namespace": "clipserve"}
            each["metadata"]["annotations"] = each["metadata"].get("annotations", {}) | owner
            if each["kind"] == "Deployment":
                self.scale(each["metadata"]["name"], each["spec"].get("replicas", 1))

    def scale(self, name: str, replicas: int) -> None:
        """As an autoscaler does; all pods are ready."""
        one = self.objects[f"Deployment/{name}"]
        one["spec"]["replicas"] = replicas
        one["status"] = {"readyReplicas": replicas}

    def serves(self) -> str:
        """The color that clients reach, its pods, and what is beside it."""
        color = self.objects["Service/clipserve"]["spec"]["selector"]["clipserve/color"]
        pods = {
            name.removeprefix("Deployment/clipserve-"): each["status"]["readyReplicas"]
            for name, each in self.objects.items()
            if each["kind"] == "Deployment"
        }
        return f"{color} of " + ", ".join(f"{name} {number}" for name, number in sorted(pods.items()))


class _Handler(BaseHTTPRequestHandler):
    server: Cluster

    def log_message(self, *args: Any) -> None:
        pass

    def found(self) -> Any:
        path = self.path.partition("?")[0].strip("/")
        group = path.removeprefix("apis/").removeprefix("api/")
        if path == "version":
            return {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
        if path == "api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "apis":
            groups = []
            for each in _KINDS.keys() - {"v1"}:
                version = {"groupVersion": each, "version": each.split("/")[1]}
                groups.append(
                    {"name": each.split("/")[0], "versions": [version], "preferredVersion": version}
                )
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        if group in _KINDS:
            about = {"namespaced": True, "verbs": ["get"]}
            kinds = [about | {"name": name, "kind": kind} for name, kind in _KINDS[group].items()]
            return {"kind": "APIResourceList", "groupVersion": group, "resources": kinds}
        *_, plural, name = path.split("/")
        kinds_of = {segment: kind for each in _KINDS.values() for segment, kind in each.items()}
        return self.server.objects.get(f"{kinds_of.get(plural)}/{name}")

    def do_GET(self) -> None:
        found = self.found()
        missing = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "NotFound",
            "code": 404,
        }
        body = json.dumps(found or missing).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
