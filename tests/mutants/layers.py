"""One broken promise of each layer, and the tests that must see it.

make mutants ARGS=--layers
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.mutants.run import exit_status

SERVICE = "service/clipserve"


@dataclass(frozen=True)
class Fault:
    """`before`, which stands once in the file `path`, becomes `after`; `tests` must fail, and before must not."""

    promise: str
    path: str
    before: str
    after: str
    tests: str


FAULTS = {
    "clip": Fault(
        "pixels are the reference's: the crop's offset is rounded, not cut",
        f"{SERVICE}/clip/fitting.py",
        "round((size[0] - side) / 2), round((size[1] - side) / 2)",
        "(size[0] - side) // 2, (size[1] - side) // 2",
        "tests/clip",
    ),
    "engine": Fault(
        "a batch's vectors go to those whose rows they are",
        f"{SERVICE}/engine/batching.py",
        "for (job, row), vector in zip(batch.rows, vectors, strict=True)",
        "for (job, row), vector in zip(batch.rows, vectors[::-1], strict=True)",
        "tests/engine",
    ),
    "application": Fault(
        "a label's embedding is that of its own template",
        f"{SERVICE}/application/classifiers.py",
        "own = [list(islice(encoded, len(prompts))) for _, prompts in labels]",
        "own = [list(islice(encoded, len(labels))) for _, prompts in labels]",
        "tests/application",
    ),
    "label sets": Fault(
        "another model's embeddings are another version",
        f"{SERVICE}/application/label_sets/definition.py",
        'f"{digest}\\n{fingerprint}".encode()',
        'f"{digest}\\n".encode()',
        "tests/application/label_sets",
    ),
    "access": Fault(
        "a key may only do what it is for",
        f"{SERVICE}/access/keys.py",
        "if scope not in key.scopes:",
        "if not key.scopes:",
        "tests/access",
    ),
    "rest": Fault(
        "a body whose size is not announced has the same limit",
        f"{SERVICE}/rest/body.py",
        "check_limit(BodyTooLarge, _TOO_LARGE, lease.size + size, limits.max_body_bytes)",
        "check_limit(BodyTooLarge, _TOO_LARGE, size, limits.max_body_bytes)",
        "tests/rest",
    ),
    "rpc": Fault(
        "who may only use label sets may not delete them",
        f"{SERVICE}/rpc/calls.py",
        '"DeleteLabelSet": "manage"',
        '"DeleteLabelSet": "use"',
        "tests/rpc tests/fronts",
    ),
    "telemetry": Fault(
        "a refusal is counted as one",
        f"{SERVICE}/telemetry/metrics.py",
        "if outcome in REFUSALS:",
        "if outcome in FAILURES:",
        "tests/telemetry tests/fronts tests/rest",
    ),
    "deploy": Fault(
        "Kubernetes sends requests to what is ready",
        "deploy/chart/templates/gateway.yaml",
        "{path: /readyz, port: operations}",
        "{path: /livez, port: operations}",
        "tests/external/deploy/test_rules.py",  # of `make check-deploy`
    ),
}


def show(source: Path, copy: Path, fast: str) -> None:
    """Print for each layer whether its fault is seen. `copy`: a copy of the checkout `source`."""
    if (source / ".deploy-tools").exists():  # of `make check-deploy`
        (copy / ".deploy-tools").symlink_to(source / ".deploy-tools")
    for layer, fault in FAULTS.items():
        print("seen  " if seen(fault, copy, fast) else "UNSEEN", f"{layer}: {fault.promise}", flush=True)


def seen(fault: Fault, copy: Path, fast: str) -> bool:
    """Whether its tests, which must pass in `copy`, fail there with the fault."""
    file, options = copy / fault.path, ("-m", fast)
    right = file.read_text()
    if right.count(fault.before) != 1:
        raise SystemExit(f"{fault.path} has not this once, say what it has now: {fault.before}")
    if exit_status(copy, fault.tests.split(), *options):
        raise SystemExit(f"{fault.tests}: they fail without a fault")
    file.write_text(right.replace(fault.before, fault.after))
    try:
        return exit_status(copy, fault.tests.split(), *options) != 0
    finally:
        file.write_text(right)
