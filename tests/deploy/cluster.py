"""What the commands of a document do to a cluster, as far as it follows from the manifests.

An apply prunes nothing; a number of pods belongs to who set it last, as server-side apply has it. There are no
pods: a Deployment is ready once its rollout has been awaited.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.deploy.manifests import Object, of_kind, parsed, pods, run, selects, settings_of, title

# Short names of kinds, as kubectl takes them.
_KINDS = {
    "configmap": "ConfigMap",
    "deployment": "Deployment",
    "job": "Job",
    "hpa": "HorizontalPodAutoscaler",
    "networkpolicy": "NetworkPolicy",
    "pdb": "PodDisruptionBudget",
    "scaledobject": "ScaledObject",
    "service": "Service",
}
_AUTOSCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
_LOOKS = ("port-forward", "logs", "get")
_BUILT: dict[bytes, list[Object]] = {}
_IN_PODS = ("cp", "exec", "wait")  # these change no object


class Cluster:
    """`objects`: title -> object. Commands that a real cluster would refuse raise AssertionError."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.ready: set[str] = set()
        self._led: set[str] = set()  # Services that have led to somebody who was ready
        self._scaled: set[str] = set()  # Deployments whose number is not the manifest's
        self._fewer: list[str] = []  # Services that the last command led to fewer pods

    def kubectl(self, line: str, folder: Path) -> str:
        """Run a command; what is new, changed and gone, as documents write it."""
        words = [word for word in shlex.split(line) if word != "--server-side"]
        options = _options(words)
        verb, *rest = (word for word in words if word not in options and word not in options.values())
        before, numbers = dict(self.objects), self._numbers()
        if verb == "apply":
            self._apply(_chosen(options, folder), force="--force-conflicts" in rest)
        elif verb == "delete":
            self._delete(rest, options, folder)
        elif verb == "create":
            secret = {"kind": "Secret", "metadata": {"name": rest[2], "namespace": options["-n"]}}
            self.objects[title(secret)] = secret
        elif verb == "scale":
            self._scale(_title(rest[0]), int(rest[1].partition("=")[2]))
        elif verb not in _IN_PODS:
            assert verb == "rollout" or verb in _LOOKS, line
            named = _title(rest[1] if verb == "rollout" else rest[0])
            assert named in self.objects, f"{line}: there is no {named}"
            self.ready |= {named} if verb == "rollout" else set()
        self._led |= {
            title(each) for each in of_kind([*self.objects.values()], "Service") if self._leads(each)
        }
        self._fewer = [
            name
            for name, after in self._numbers().items()
            if self.objects[name] != before.get(name) and sum(after) < max(numbers.get(name, []), default=0)
        ]
        return difference(before, self.objects)

    def faults(self) -> Iterable[str]:
        """What would harm callers or the work on nodes now, though no rule of one build sees it."""
        present = [*self.objects.values()]
        for service in of_kind(present, "Service"):
            chosen = [each for each in pods(present) if selects(service["spec"]["selector"], each.labels)]
            served = {_served(each.spec["containers"][0], each.spec, present) for each in chosen}
            if len(served) > 1:
                yield f"{title(service)} leads to {len(served)} models"
            if title(service) in self._led and not self._leads(service):
                yield f"{title(service)} leads to nobody who is ready"
        yield from (f"{name} leads to fewer pods than before" for name in self._fewer)
        scaled = [each["spec"]["scaleTargetRef"]["name"] for each in of_kind(present, *_AUTOSCALERS)]
        yield from (f"{name} has two autoscalers" for name in set(scaled) if scaled.count(name) > 1)
        for each in pods(present):
            budgets = of_kind(present, "PodDisruptionBudget")
            if sum(selects(one["spec"]["selector"], each.labels) for one in budgets) > 1:
                yield f"{each.name} has two budgets, and cannot be evicted"

    def _leads(self, service: Object) -> bool:
        """Whether it leads to somebody who is ready."""
        selector = service["spec"]["selector"]
        return any(
            selects(selector, each.labels) and each.name in self.ready
            for each in pods([*self.objects.values()])
        )

    def _numbers(self) -> dict[str, list[int]]:
        """Service -> the numbers of pods of the Deployments that it leads to."""
        present = [*self.objects.values()]
        least = {
            spec["scaleTargetRef"]["name"]: spec.get("minReplicas", spec.get("minReplicaCount"))
            for spec in (each["spec"] for each in of_kind(present, *_AUTOSCALERS))
        }
        return {
            title(service): [
                each.owner["spec"].get("replicas") or least.get(each.owner["metadata"]["name"], 0)
                for each in pods(present)
                if selects(service["spec"]["selector"], each.labels)
            ]
            for service in of_kind(present, "Service")
        }

    def _apply(self, objects: list[Object], force: bool) -> None:
        for each in objects:
            name, had = title(each), self.objects.get(title(each))
            if each["kind"] == "Deployment" and had:
                each = self._numbered(each, had, force)
            if each["kind"] == "Job" and had:
                assert each["spec"]["template"] == had["spec"]["template"], f"{name} cannot be changed"
            self.objects[name] = each

    def _numbered(self, new: Object, had: Object, force: bool) -> Object:
        """A Deployment with the number of pods that it would have."""
        name, wanted, there = title(new), new["spec"].get("replicas"), had["spec"].get("replicas")
        if wanted is None:
            assert name in self._scaled or there is None, f"{name} would be cut to one pod"
            return new if there is None else {**new, "spec": {**new["spec"], "replicas": there}}
        assert force or name not in self._scaled or wanted == there, f"{name}: conflict about .spec.replicas"
        self._scaled.discard(name)
        return new

    def _scale(self, name: str, number: int) -> None:
        had = self.objects[name]
        assert had["spec"].get("replicas") != number, f"{name} has {number} pods, so nobody takes them over"
        self.objects[name] = {**had, "spec": {**had["spec"], "replicas": number}}
        self._scaled.add(name)

    def _delete(self, words: list[str], options: dict[str, str], folder: Path) -> None:
        if "-k" in options:
            gone = {title(each) for each in _chosen(options, folder)}
        elif "-l" in options:
            kinds = {_KINDS[each] for each in words[0].split(",")}
            gone = {
                name
                for name, each in self.objects.items()
                if each["kind"] in kinds and _labelled(each, options["-l"])
            }
        else:
            gone = {_title(word) for word in words}
        assert gone <= self.objects.keys(), f"there is no {gone - self.objects.keys()}"
        if any(name.startswith("Namespace/") for name in gone):
            gone = set(self.objects)
        self.objects = {name: each for name, each in self.objects.items() if name not in gone}
        self.ready -= gone


def difference(before: dict[str, Object], after: dict[str, Object]) -> str:
    """`new: ...; changed: ...`; names of generated ConfigMaps end with a star, for the hash of their contents."""
    told = {
        "new": after.keys() - before.keys(),
        "changed": {name for name in before.keys() & after.keys() if before[name] != after[name]},
    }
    words = {
        kind: sorted(re.sub(r"^(ConfigMap/.*-)[a-z0-9]{10}$", r"\1*", name) for name in names)
        for kind, names in told.items()
    }
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in words.items() if names)


def _options(words: list[str]) -> dict[str, str]:
    """Those of one letter, with their values."""
    return {word: words[place + 1] for place, word in enumerate(words) if re.fullmatch("-[a-z]", word)}


def _chosen(options: dict[str, str], folder: Path) -> list[Object]:
    if "-f" in options:
        return parsed((folder / options["-f"]).read_text())
    built = built_of(folder / options["-k"])
    return [each for each in built if _labelled(each, options.get("-l", ""))]


def built_of(folder: Path) -> list[Object]:
    """Its objects, which nobody changes; walks begin alike, so what the same files gave is given again."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".json"))
    key = hashlib.sha256(repr([(path.relative_to(folder), path.read_bytes()) for path in files]).encode())
    if key.digest() not in _BUILT:
        _BUILT[key.digest()] = parsed(run("kustomize", "build", folder))
    return _BUILT[key.digest()]


def _labelled(one: Object, selector: str) -> bool:
    """By `name=value`, or `!name`."""
    labels: dict[str, Any] = one["metadata"].get("labels", {})
    name, _, value = selector.partition("=")
    return not selector or (name[1:] not in labels if name.startswith("!") else labels.get(name) == value)


def _title(word: str) -> str:
    kind, _, name = word.partition("/")
    return f"{_KINDS[kind]}/{name}"


def _served(container: dict[str, Any], spec: dict[str, Any], objects: list[Object]) -> str:
    """What answers differ by, as far as manifests say it."""
    volumes = [volume for volume in spec.get("volumes", []) if volume["name"] == "models"]
    return f"{container['image']} {settings_of(container, objects).get('CLIPSERVE_MODELS')} {volumes}"
