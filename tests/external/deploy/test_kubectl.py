"""What kubectl itself does without an API server: it builds as kustomize does, and takes the options of pages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.deploy.builds import LARGEST
from tests.deploy.manifests import ROOT, TOOLS, run

KUBECTL = TOOLS / "bin" / "kubectl"
_PAGES = (*(ROOT / "deploy").rglob("*.md"), *(ROOT / "docs").glob("*.md"))
# Commands that make an object of their arguments; others ask an API server for its kinds even for a dry run.
_MAKES = re.compile(r"^ *(kubectl .*create (?:secret|rolebinding) (?:.*\\\n)*.*)$", re.MULTILINE)
MAKING = {line.partition(" --dry-run")[0] for page in _PAGES for line in _MAKES.findall(page.read_text())}


@pytest.mark.parametrize("name", LARGEST)
def test_apply_builds_what_kustomize_builds(name: str, built: dict[str, Path]) -> None:
    """The kustomize inside is of another version."""
    assert built[name].read_text().startswith(run(KUBECTL, "kustomize", built[name].with_suffix("")))


def test_what_pages_create_is_what_kubectl_makes(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    new = "openssl req -x509 -newkey rsa:2048 -nodes -keyout tls.key -out tls.crt -subj /CN=a -days 1"
    run(*new.split(), cwd=tmp_path)
    assert len(MAKING) > 3
    for line in MAKING:
        run(
            KUBECTL,
            *shlex.split(line.replace("\\\n", " "))[1:],
            "--dry-run=client",
            "-o",
            "name",
            cwd=tmp_path,
        )
