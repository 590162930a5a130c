"""Objects against the schemas of Kubernetes: `.deploy-tools/bin/python kubernetes_fields.py FILE VERSION...`

FILE holds a JSON list of objects. What is wrong is printed, a line each, and the exit status is then 1, as it is
where a kind has no schema. The tool's own command reads a megabyte of definitions for each object.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

from kubernetes_validate import utils  # type: ignore[import-not-found]  # of .deploy-tools

utils.schema_contents = functools.cache(utils.schema_contents)

file, *versions = sys.argv[1:]
found = False
for each in json.loads(Path(file).read_text()):
    for version in versions:
        try:
            utils.validate(each, version, strict=True)
        except utils.ValidationError as error:
            found = True
            print(f"{utils.kn(each)} ({version}): {'.'.join(map(str, error.path))}: {error.message}")
sys.exit(found)
