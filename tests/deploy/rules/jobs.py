"""Jobs, and the pods that wait for what they make."""

from __future__ import annotations

from collections.abc import Iterator

from tests.deploy.manifests import Object, Pods, gateways, gpus, of_kind, pods, title


def a_job_has_an_end(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "Job"):
        if each["spec"]["template"]["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
            yield f"{title(each)}: restartPolicy must be Never or OnFailure"
        if "activeDeadlineSeconds" not in each["spec"]:
            yield f"{title(each)}: may run for ever"


def an_upgrade_leaves_jobs_as_they_are(objects: list[Object]) -> Iterator[str]:
    """The template of a Job cannot be changed: one that stays must not have the image of gateways."""
    upgraded = {container["image"].partition(":")[0] for _, container in gateways(objects)}
    for each in _jobs(objects):
        images = {container["image"].partition(":")[0] for container in each.all_containers}
        if images & upgraded and "ttlSecondsAfterFinished" not in each.owner["spec"]:
            yield f"{each.name}: has the image of gateways, so that an upgrade would be refused"


def a_job_gets_a_gpu_before_those_who_wait_for_it(objects: list[Object]) -> Iterator[str]:
    """Where all GPUs are held by pods that wait for the Job, it takes one from them."""
    classes = {each["metadata"]["name"]: each for each in of_kind(objects, "PriorityClass")}
    for each in _jobs(objects):
        chosen = classes.get(each.spec.get("priorityClassName", ""), {})
        preempts = chosen.get("preemptionPolicy", "PreemptLowerPriority") == "PreemptLowerPriority"
        if gpus(each) and not (chosen.get("value", 0) > 0 and preempts):
            yield f"{each.name}: has no priority, and waits for a GPU that others hold while they wait for it"


def images_of_nvidia_keep_their_entrypoint(objects: list[Object]) -> Iterator[str]:
    """It puts the libraries for older drivers in front: without them plans cannot be built there."""
    for each in pods(objects):
        for container in each.all_containers:
            of_nvidia = container["image"].partition(":")[0] in ("tensorrt", "tritonserver")
            if of_nvidia and "command" in container:
                yield f"{each.name}: {container['name']} replaces the entrypoint by `command`"


def who_waits_for_a_job_has_the_time(objects: list[Object]) -> Iterator[str]:
    """Who mounts the claim that a Job writes is not ready before it has ended."""
    for job in _jobs(objects):
        for each in pods(objects):
            waits = each.owner["kind"] == "Deployment" and _claims(job) & _claims(each) and gpus(each)
            deadline = each.owner["spec"].get("progressDeadlineSeconds", 0)
            if waits and deadline <= job.owner["spec"]["activeDeadlineSeconds"]:
                yield f"{each.name}: waits for {job.name}, and its deadline of {deadline} s is over before"


def _jobs(objects: list[Object]) -> list[Pods]:
    return [each for each in pods(objects) if each.owner["kind"] == "Job"]


def _claims(each: Pods) -> set[str]:
    volumes = each.spec.get("volumes", [])
    return {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}
