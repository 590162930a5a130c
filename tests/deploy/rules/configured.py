"""Settings that manifests give, as the service reads them."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from clipserve.settings import Settings
from tests.deploy.manifests import Object, environment_needs, gateways, pods, settings_of, title

_PREFIX = "CLIPSERVE_"
# What a secret or the kubelet gives, in the place of what is not known here.
_STAND_INS = {
    "CLIPSERVE_REDIS_URL": "redis://:password@redis:6379/0",
    "CLIPSERVE_GRPC_TLS_CERT_FILE": __file__,  # a file that there is
    "CLIPSERVE_GRPC_TLS_KEY_FILE": __file__,
}


def settings_are_known(objects: list[Object]) -> Iterator[str]:
    names = {_PREFIX + name.upper() for name in Settings.model_fields}
    for each, container in gateways(objects):
        given = settings_of(container, objects).keys() | {one["name"] for one in container.get("env", [])}
        if unknown := {name for name in given if name.startswith(_PREFIX)} - names:
            yield f"{each.name}: there is no setting {', '.join(sorted(unknown))}"


def settings_are_accepted(objects: list[Object]) -> Iterator[str]:
    """The service would start with them, as far as they do not depend on files."""
    for each, container in gateways(objects):
        names = {one["name"] for one in container.get("env", [])}
        given = settings_of(container, objects)
        given |= {name: value for name, value in _STAND_INS.items() if name in names}
        fields = {name.removeprefix(_PREFIX).lower(): value for name, value in given.items()}
        try:
            Settings.model_validate({name: fields[name] for name in fields if name in Settings.model_fields})
        except ValidationError as error:
            yield f"{each.name}: {error}"


def no_service_becomes_a_setting(objects: list[Object]) -> Iterator[str]:
    """For a Service `clipserve` Kubernetes sets CLIPSERVE_PORT=tcp://..., which is a setting of ours."""
    for each in pods(objects):
        if each.spec.get("enableServiceLinks") is not False:
            yield f"{each.name}: enableServiceLinks is not false"


def gateways_ask_their_own_triton(objects: list[Object]) -> Iterator[str]:
    known = {
        f"{each['metadata']['name']}:{port['port']}": each
        for each in objects
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    }
    for each, container in gateways(objects):
        given = settings_of(container, objects)
        if given.get("CLIPSERVE_BACKEND") != "triton":
            continue
        beside = {f"127.0.0.1:{port['containerPort']}" for one in each.sidecars for port in one["ports"]}
        if given.get("CLIPSERVE_TRITON_URL") in beside:
            continue
        service = known.get(given.get("CLIPSERVE_TRITON_URL", ""))
        color = each.labels.get("clipserve/color")
        if service is None or service["spec"]["selector"].get("clipserve/color") != color:
            yield f"{each.name}: asks {given.get('CLIPSERVE_TRITON_URL')}, which is not its Triton"


def triton_and_gateways_have_one_artifact(objects: list[Object]) -> Iterator[str]:
    """A repository written from another artifact is refused by every gateway."""
    served = {
        each.labels.get("clipserve/color"): settings_of(container, objects).get("CLIPSERVE_MODELS")
        for each, container in gateways(objects)
    }
    for each in pods(objects):
        for container in each.spec.get("initContainers", []):
            given = settings_of(container, objects)
            folder = given.get("CLIPSERVE_MODELS", ...)
            if folder is not ... and folder != served.get(each.labels.get("clipserve/color"), folder):
                yield f"{title(each.owner)}: {container['name']} writes from {folder}, gateways hold {served}"


def settings_restart_gateways_alone(objects: list[Object]) -> Iterator[str]:
    """A generated ConfigMap changes its name: a Triton that has it starts again, and a Job cannot be changed."""
    own = {each.name for each, _ in gateways(objects)}
    for each in pods(objects):
        for kind, name in (
            need for container in each.all_containers for need in environment_needs(container)
        ):
            if kind == "ConfigMap" and each.name not in own and not name.startswith("model-"):
                yield f"{each.name}: refers to the settings of gateways"


def variables_in_commands_are_set(objects: list[Object]) -> Iterator[str]:
    """Kubernetes leaves `$(NAME)` as it is where nothing has that name."""
    for each in pods(objects):
        for container in each.all_containers:
            known = {one["name"] for one in container.get("env", [])}
            for word in [*container.get("command", []), *container.get("args", [])]:
                name = word.partition("$(")[2].partition(")")[0]
                if name.isupper() and name not in known:
                    yield f"{each.name}: {container['name']} has no variable {name}"
