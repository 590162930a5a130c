"""The first answer from the wheels on a Debian that has nothing but Python; a release does the same on other systems."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from loadtests.process import free_port
from tests.process import ROOT

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

pytestmark = pytest.mark.nightly  # half a minute, and a hundred megabytes of Debian's packages


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is for root")
def test_the_wheels_alone_answer_on_an_empty_system(tmp_path: Path) -> None:
    root = tmp_path / "root"
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", packages, "trixie", root], check=True
    )
    shutil.copytree(ROOT / "dist", root / "clipserve/dist")
    for path in (Path(__file__).with_name("first_answer.sh"), ROOT / "docs/cat.jpg"):
        shutil.copy(path, root / "clipserve")
    pins = re.findall(r"^[\w.-]+==[^\\\n]+", (ROOT / "requirements/service.txt").read_text(), re.MULTILINE)
    (root / "clipserve/pins.txt").write_text("\n".join(pins))
    for path in (CERTIFICATES, Path("/etc/resolv.conf")):
        shutil.copy(path, root / path.relative_to("/"))
    names = ("CLIPSERVE_PORT", "CLIPSERVE_GRPC_PORT", "CLIPSERVE_OPERATIONS_PORT")
    variables = {name: str(free_port()) for name in names} | {
        "CONSTRAINTS": "/clipserve/pins.txt",
        "HOME": "/root",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PIP_CERT": str(CERTIFICATES),
    }
    inside = 'mount --bind /proc "$0/proc"; mount --bind /dev "$0/dev"; exec chroot "$0" "$@"'
    words = (root, "/clipserve/first_answer.sh", "/clipserve/dist", "/clipserve/cat.jpg")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inside, *words], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert re.search(r"first answer \d+ s later, \d+ MB\n.*cat", done.stdout)
