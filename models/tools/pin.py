"""`python -m tools.pin`: write the commit and the digest of each entry's weights into the catalog.

It asks the hub, whose list of files has the SHA-256 of large ones, and downloads nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from clipserve_models.catalog import CATALOG, read_catalog
from clipserve_models.errors import ModelsError
from clipserve_models.hub import Repository, weights_of


def pin(catalog: Path = CATALOG) -> None:
    """Pin all entries with a repository to its present commit.

    Raises:
        ModelsError: a repository is not there or has no weights with a digest; the file is unchanged.
    """
    text = catalog.read_text("utf-8")
    for entry in read_catalog(catalog).values():
        if entry.repository:
            commit, digest = weights_of(Repository(entry.repository))
            text = _with(text, entry.name, {"revision": commit, "digest": digest})
            print(f"{entry.name}: {entry.repository} at {commit}")
    catalog.write_text(text, "utf-8")


def _with(text: str, name: str, facts: Mapping[str, str]) -> str:
    """The catalog with these facts behind the repository in the table of `name`."""
    head, mark, tail = text.partition(f'["{name}"]\n')
    table, gap, others = tail.partition("\n\n")
    table = re.sub(rf"\n(?:{'|'.join(facts)}) = .*", "", table)
    lines = "".join(f'\n{key} = "{value}"' for key, value in facts.items())
    return head + mark + re.sub(r"(?m)^repository = .*$", lambda line: line[0] + lines, table) + gap + others


if __name__ == "__main__":
    try:
        pin(*map(Path, sys.argv[1:]))
    except ModelsError as error:
        sys.exit(f"error: {error}")
