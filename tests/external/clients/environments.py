"""Environments of packages that are nobody's dependencies, each installed once into `.clients/`."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.process import ROOT

ENVIRONMENTS = ROOT / ".clients"


def installed(packages: Path) -> Path:
    """The Python of an environment with what this list of packages names; it has the names of list and folder.

    One whose first line is `# with clipserve` has this checkout and its packages too.
    """
    folder = ENVIRONMENTS / f"{packages.parent.name}-{packages.stem}"
    wanted = packages.read_text()
    done = folder / "installed"
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        if wanted.startswith("# with clipserve\n"):
            here = sysconfig.get_path("purelib")
            (site,) = folder.glob("lib/*/site-packages")
            (site / "beside.pth").write_text(f"import site; site.addsitedir({here!r})\n")
        pip: list[str | Path] = [folder / "bin/python", "-m", "pip", "install", "--quiet"]
        # Old packages build with pkg_resources, which setuptools 81 and later lack.
        subprocess.run([*pip, "setuptools<81", "wheel"], check=True)
        subprocess.run([*pip, "--no-build-isolation", "-r", packages], check=True)
        done.write_text(wanted)
    return folder / "bin/python"
