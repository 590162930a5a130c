"""buildah and podman with a storage of their own, and what stands in for the images of registries.

No registry is asked: bases are Debian roots made by mmdebstrap, kept in `.image/`, which `make clean` removes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.external.image.apart import own_mounts

ROOT = Path(__file__).parents[3]
KEPT = ROOT / ".image"
STATE = KEPT / "run"
NAMES = Path("/run/containers/networks/aardvark-dns")
PROGRAMS = ("buildah", "mmdebstrap", "netavark", "podman", "podman-compose", "runc")
BASE, TOOLS = "localhost/clipserve-base", "localhost/clipserve-tools"
# A base of the Dockerfile's, whose own is of Debian too.
PYTHON = ("trixie", "ca-certificates,python3,python3-venv")
# The programs of the other services of docker-compose.yml, as Debian builds them; and the folders that belong
# to their users.
DEBIAN = f"""FROM {BASE}
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \\
      haproxy prometheus prometheus-alertmanager redis-server \\
    && rm -rf /var/lib/apt/lists/* \\
    && install -d -o 65534 -g 65534 /prometheus /alertmanager && install -d -o 999 -g 999 /data
"""
# Where programs are, as images of registries say.
FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Enough for a build, whatever the limits of the shell are.
LIMITS = ("nofile=20000:20000", "nproc=90000:90000")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def configure() -> dict[str, str]:
    """The environment in which buildah, podman and podman-compose see that storage alone."""
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=_path())]:
        pytest.fail(f"these tests need Debian's packages {', '.join(missing)}: .ci/run installs them")
    KEPT.mkdir(exist_ok=True)
    limits = ", ".join(f'"{each}"' for each in LIMITS)
    (KEPT / "containers.conf").write_text(
        f"[containers]\ndefault_ulimits = [{limits}]\n"
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        f'[network]\nnetwork_config_dir = "{STATE}/networks"\n'
    )
    (KEPT / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{KEPT}/storage"\nrunroot = "{STATE}"\n'
    )
    return os.environ | {
        "PATH": _path(),
        "CONTAINERS_CONF": str(KEPT / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(KEPT / "storage.conf"),
        "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        "AARDVARK_NO_PROXY": "1",  # no server of other names can be reached: they are unknown at once
    }


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/usr/lib/podman"


class Engine:
    """Runs commands on that storage, without the containers and volumes that a killed run has left there."""

    def __init__(self) -> None:
        self.environment = configure()
        own_mounts(STATE)
        self.run("podman", "rm", "--all", "--force", "--time=0")
        self.run("podman", "volume", "rm", "--all", "--force")

    def run(self, *command: str | Path, check: bool = True, **variables: str) -> str:
        """Standard output of a command.

        Raises:
            AssertionError: it failed, with the end of what it wrote; unless `check` is off.
        """
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=self.environment | variables, check=False
        )
        assert not check or done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
        return done.stdout.strip()

    def inspect(self, image: str) -> dict[str, Any]:
        """What podman knows of an image."""
        return dict(json.loads(self.run("podman", "image", "inspect", image))[0])

    def bases(self) -> None:
        """Make the images that stand in for those of registries, where they are missing.

        That of the programs is made while others are built: `stand_in` waits for it.
        """
        self._import(BASE, *PYTHON)
        self._tools = ThreadPoolExecutor(1).submit(self._derive, TOOLS, DEBIAN)

    def stand_in(self, name: str, *lines: str) -> str:
        """The image of those programs under another name, with more lines of a Dockerfile."""
        self._tools.result()
        return self._derive(f"localhost/clipserve-{name}", "\n".join([f"FROM {TOOLS}", *lines, ""]))

    def build(self, name: str, **arguments: str) -> str:
        """Build the Dockerfile on the base; the image's name."""
        options = [f"--build-arg={key}={value}" for key, value in {"BASE_CPU": BASE, **arguments}.items()]
        if CERTIFICATES.is_file():  # the registry of packages may be known to this machine's alone
            options.append(f"--volume={CERTIFICATES}:{CERTIFICATES}:ro")
        # Stages that need no other one are built side by side.
        self._bud(name, "--layers", "--jobs=2", *options, str(ROOT))
        return name

    def log(self, container: str) -> str:
        """The end of what a container has written."""
        done = subprocess.run(
            ("podman", "logs", container), capture_output=True, text=True, env=self.environment, check=False
        )
        return f"{done.stdout[-3000:]}{done.stderr[-3000:]}"

    def names(self) -> str:
        """What could answer a container that asks for another one's name: addresses, aardvark-dns and its files."""
        told = [f"{file}:\n{file.read_text()}" for file in sorted(NAMES.glob("*"))]
        commands = (("ip", "-brief", "address"), ("ss", "--listening", "--udp", "--numeric", "--processes"))
        told += [f"{' '.join(command)}:\n{self.run(*command)}" for command in commands]
        return "\n".join(told)

    def _import(self, name: str, suite: str, packages: str) -> None:
        """Make the image of a root with these packages, where it is missing."""
        key = hashlib.sha256(f"{suite} {packages}".encode()).hexdigest()[:12]
        if self.run("buildah", "images", "--quiet", "--filter", f"label=key={key}"):
            return
        context = KEPT / key
        context.mkdir(exist_ok=True)
        root = context / "root.tar"
        if not root.exists():
            partial = context / "partial.tar"
            # Nobody waits for a disk: what is interrupted is made anew.
            options = ("--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io", f"--include={packages}")
            self.run("mmdebstrap", *options, suite, partial)
            partial.rename(root)
        changes = (f"--change=LABEL key={key}", f"--change=ENV PATH={FOLDERS}")
        self.run("podman", "import", "--quiet", *changes, root, name)

    def _derive(self, name: str, text: str) -> str:
        folder = KEPT / "derived" / name.rpartition("/")[2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Dockerfile").write_text(text)
        self._bud(name, "--layers", str(folder))
        return name

    def _bud(self, name: str, *options: str) -> None:
        limits = [f"--ulimit={each}" for each in LIMITS]
        # chroot and the host's network: no privileges and no bridge are needed to build.
        common = ["--pull=never", "--isolation=chroot", "--network=host", "--format=docker", *limits]
        self.run("buildah", "bud", *common, "--tag", name, *options)


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    """The lines of /proc/1/status, taken apart."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()
