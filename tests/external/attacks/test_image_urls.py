"""Images by URL in a network namespace: a real resolver, a name server that rebinds, listeners on every address."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.external.attacks.namespace import INSIDE, PUBLIC
from tests.process import ROOT

# Only this process and what it starts see the addresses, and the resolver of $1.
SETUP = """
ip link set lo up
for address in $2; do ip address add $address dev lo; done
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
exec "$3" -m tests.external.attacks.namespace
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and Debian's iproute2")
def test_no_url_reaches_an_address_that_is_not_allowed(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\noptions timeout:20 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n")
    own = [address for address in (PUBLIC, *INSIDE) if address != "::1" and not address.startswith("127.")]
    inside = ["unshare", "--net", "--mount", "sh", "-ec", SETUP, "-"]
    command = [*inside, str(tmp_path), " ".join(own), sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["good"] == {"200": 1}
    assert set(told["refused"]) <= {"400", "422"}
    assert sum(told["refused"].values()) >= 100
    assert told["mixed"] == {"200": len(INSIDE)}, "at the public one of their addresses"
    half = 2 * len(INSIDE)  # of four questions for each name two lead outside
    assert told["in turns"] == {"200": half, "422": half}
    assert set(told["reached"]) == {PUBLIC}
