"""All rules for manifests.

They are what an API server or a cluster refuses and no schema sees, and what this service needs of a deployment.
Each takes all objects of a build and yields what is wrong, one sentence each; `test_rules.py` breaks each of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from tests.deploy.manifests import Object
from tests.deploy.rules import (
    configured,
    edges,
    jobs,
    lifecycle,
    naming,
    network,
    resources,
    scaling,
    security,
    selection,
)

Rule = Callable[[list[Object]], Iterator[str]]

_MODULES = (configured, edges, jobs, lifecycle, naming, network, resources, scaling, security, selection)
RULES: list[Rule] = [
    function
    for module in _MODULES
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
]
