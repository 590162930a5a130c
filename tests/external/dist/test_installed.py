"""What `make dist` has made, installed into an empty environment and used from another folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from loadtests.process import free_port, ready, running

ROOT = Path(__file__).parents[3]
DIST = ROOT / "dist"
SECONDS = 300
PORTS = ("CLIPSERVE_PORT", "CLIPSERVE_GRPC_PORT", "CLIPSERVE_OPERATIONS_PORT")
NAMED = ("RECORD", "WHEEL")  # checksums, and what built a wheel for which system
# What pip and uv write beside a package.
WRITTEN = ("INSTALLER", "REQUESTED", "direct_url.json", ".lock", "uv_build.json", "uv_cache.json", *NAMED)


@dataclass(frozen=True)
class Installed:
    """An environment with nothing but the packages, and a folder far from the checkout."""

    environment: Path
    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.environment / "bin" / words[0], *words[1:]],
            cwd=self.folder,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def variables(self) -> dict[str, str]:
        """Another process may have the usual ports, and the machine's cores."""
        return {
            "PATH": f"{self.environment}/bin:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "COLUMNS": "200",
            "CLIPSERVE_DEADLINE_SECONDS": "60",
            "CLIPSERVE_MAX_QUEUE_SECONDS": "60",
            **dict.fromkeys(PORTS, "0"),
        }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """With the versions that are pinned here: what is tested is the package, not today's releases of others."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    pins = re.findall(r"^[\w.-]+==[^\\\n]+", (ROOT / "requirements/service.txt").read_text(), re.MULTILINE)
    (folder / "constraints.txt").write_text("\n".join(pins))
    install(folder / "venv/bin/python", "-c", folder / "constraints.txt", *distributions("whl"))
    (folder / "photos").mkdir()
    (folder / "photos/cat.jpg").write_bytes((ROOT / "docs/cat.jpg").read_bytes())
    return Installed(folder / "venv", folder / "photos")


def distributions(
    ending: str, names: Sequence[str] = ("clipserve", "clipserve_core", "clipserve_models")
) -> list[Path]:
    """The files of these distributions that end so."""
    return [path for name in names for path in DIST.glob(f"{name}-*.{ending}")]


def install(python: str | Path, *words: str | Path) -> None:
    """By uv, where there is one, in an eighth of pip's CPU time."""
    if uv := os.environ.get("UV"):
        command: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", python]
    else:  # not compiled: most of what others bring is never imported here
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        command += ["--python", python, "install", "--no-compile"]
    subprocess.run([*command, *words], check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def served(installed: Installed) -> Iterator[str]:
    """The address of the command without arguments."""
    ports = [free_port() for _ in range(3)]
    own = installed.variables() | dict(zip(PORTS, map(str, ports), strict=True))
    url = f"http://127.0.0.1:{ports[0]}"
    command = [str(installed.environment / "bin/clipserve")]
    with running(command, "clipserve", lambda: ready(url), SECONDS, cwd=installed.folder, env=own):
        yield url


def test_the_service_answers_about_the_demo_model(installed: Installed, served: str) -> None:
    told = installed.run(
        "clipserve", "classify", "cat.jpg", "--labels", "cat,dog,car", "--json", "--url", served
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["labels"][0]["label"] == "cat"
    healthy = installed.run("clipserve", "doctor", "--url", served)
    assert healthy.returncode == 0, healthy.stdout


def test_the_command_of_models_is_there(installed: Installed) -> None:
    assert installed.run("clipserve", "models", "list").stdout.startswith("NAME")


@pytest.mark.parametrize("made", ["Clip()", "Client(URL)"])
def test_a_program_embeds_and_classifies(installed: Installed, served: str, made: str) -> None:
    program = (
        f"import clipserve\nURL = {served!r}\nwith clipserve.{made} as clip:\n"
        "    print(clip.embed_images(['cat.jpg']).vectors.shape)\n"
        "    print(clip.classify(['cat.jpg'], ['cat', 'dog']).labels[0][0].label)\n"
    )
    told = installed.run("python", "-c", program)
    assert (told.stdout, told.stderr) == ("(1, 384)\ncat\n", "")


def test_the_code_alone_is_the_python_client(served: str, tmp_path: Path) -> None:
    """Neither server nor engine; it prints the megabytes of the environment and the seconds of the import."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    install(tmp_path / "venv/bin/python", *distributions("whl", ["clipserve_core"]))
    client = Installed(tmp_path / "venv", ROOT / "docs")
    program = (
        "import sys, time\nbegun = time.process_time()\nimport clipserve\nclipserve.Client\n"
        "print(round(time.process_time() - begun, 2), 's of CPU to import', file=sys.stderr)\n"
        f"with clipserve.Client({served!r}) as clip:\n"
        "    print(clip.classify(['cat.jpg'], ['cat', 'dog']).labels[0][0].label)\n"
        "print(*{'fastapi', 'grpc', 'onnxruntime', 'PIL'} & sys.modules.keys())\nclipserve.Clip\n"
    )
    done = client.run("python", "-c", program)
    assert done.stdout == "cat\n\n"
    assert "pip install clipserve, or with an NVIDIA GPU clipserve-gpu" in done.stderr
    command = client.run("clipserve")
    assert (command.returncode, command.stdout) == (1, "")
    assert command.stderr.startswith("only the Python client is installed: pip install clipserve")
    size = sum(path.stat().st_size for path in client.environment.rglob("*") if path.is_file())
    print(f"{size / 1e6:.0f} MB", done.stderr.splitlines()[0])


def test_the_sdists_install_what_the_wheels_do(tmp_path: Path) -> None:
    """Built as anywhere else: in an environment with nothing but what they say that they need."""
    install(sys.executable, "--no-deps", "--target", tmp_path / "target", *distributions("tar.gz"))
    installed = {
        str(path.relative_to(tmp_path / "target")): path.read_bytes()
        for path in (tmp_path / "target").rglob("*")
        if path.is_file() and path.name not in WRITTEN and path.parent.name != "bin"
    }
    packed: dict[str, bytes] = {}
    for wheel in distributions("whl"):
        with ZipFile(wheel) as archive:
            files = [each.filename for each in archive.infolist() if not each.is_dir()]
            packed |= {name: archive.read(name) for name in files if Path(name).name not in NAMED}
    assert installed.keys() == packed.keys()
    assert {name for name in packed if packed[name] != installed[name]} == set()
