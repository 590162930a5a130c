"""Restricted pod security, as Kubernetes defines it, and a little more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.deploy.manifests import Object, of_kind, pods, title

# https://kubernetes.io/docs/concepts/security/pod-security-standards; `image` since 1.33.
_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim"),
    *("projected", "secret"),
}


def namespaces_are_restricted(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "Namespace"):
        labels = each["metadata"].get("labels", {})
        for mode in ("enforce", "audit", "warn"):
            if labels.get(f"pod-security.kubernetes.io/{mode}") != "restricted":
                yield f"{title(each)}: does not {mode} restricted pods"


def pods_are_restricted(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        context = each.spec.get("securityContext", {})
        # All three, because an image may name no user or root; or none, where the cluster gives them (OpenShift).
        ids = [context.get(name) for name in ("runAsUser", "runAsGroup", "fsGroup")]
        if context.get("runAsNonRoot") is not True or 0 in ids or ids.count(None) not in (0, 3):
            yield f"{each.name}: may run as root, or has only some of user, group and group of volumes"
        if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{each.name}: has no seccomp profile"
        if any(each.spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{each.name}: shares something with its host"
        for volume in each.spec.get("volumes", []):
            if other := volume.keys() - _VOLUMES - {"name"}:
                yield f"{each.name}: the volume {volume['name']} is of the kind {', '.join(other)}"


def containers_are_restricted(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        for container in each.all_containers:
            context: dict[str, Any] = container.get("securityContext", {})
            named = f"{each.name}: {container['name']}"
            if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
                yield f"{named} may gain privileges"
            capabilities = context.get("capabilities", {})
            if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
                yield f"{named} has capabilities"
            if context.get("readOnlyRootFilesystem") is not True:
                yield f"{named} may write its root"
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{named} takes a port of its host"


def nobody_holds_a_token(objects: list[Object]) -> Iterator[str]:
    for account in of_kind(objects, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{title(account)}: its token is mounted"
    for each in pods(objects):
        if each.spec.get("automountServiceAccountToken") is not False:
            yield f"{each.name}: a token of the API server is mounted"


def images_have_a_tag_and_no_registry(objects: list[Object]) -> Iterator[str]:
    """The registry is the user's: kustomize sets it. `latest` is another image tomorrow."""
    for each in pods(objects):
        for container in each.all_containers:
            name, _, tag = container["image"].partition(":")
            if "/" in name or tag in ("", "latest"):
                yield f"{each.name}: the image {container['image']}"
