"""A service that trusts its machine is not asked by pages whose name leads to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipserve.access.hosts import ANY, Hosts
from clipserve.errors import MisdirectedRequest
from clipserve.settings import Settings
from clipserve.wiring.listening import hosts_of
from loadtests.fake_backend import FakeBackend
from tests.support.service import DIM, serving, write_toy_artifact

OURS = ("localhost", "LOCALHOST:8080", "localhost.", "127.9.8.7:1", "[::1]:8080", "a.localhost:1", "")
OTHERS = ("evil.example:8080", "127.0.0.1.evil.example", "evillocalhost", "192.0.2.1", "[::2]")
BROKEN = ("\x01", "[", "]", ":", "é", "@localhost", "localhost/", "::1", "a" * 60_000)


def answered(hosts: Hosts, host: str) -> bool:
    try:
        hosts.check(host.encode("latin-1"))
    except MisdirectedRequest:
        return False
    return True


def test_loopback_has_few_names() -> None:
    assert [host for host in (*OURS, *OTHERS, *BROKEN) if answered(Hosts(()), host)] == [*OURS]
    Hosts(()).check(None)


@pytest.mark.parametrize(
    ("chosen", "all_are"),
    [
        ({}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost", "allowed_hosts": ("a",)}, False),
        ({"allowed_hosts": ("*",)}, True),
        ({"host": "0.0.0.0"}, True),
        ({"host": "192.0.2.1"}, True),
        ({"keys_file": Path("keys")}, True),
    ],
)
def test_names_are_looked_at_only_where_nothing_else_keeps_others_out(
    chosen: dict[str, Any], all_are: bool
) -> None:
    assert answered(hosts_of(Settings(**chosen)), "evil.example") == all_are
    assert answered(hosts_of(Settings(**chosen)), "localhost")
    assert answered(ANY, "evil.example")


async def test_a_page_whose_name_leads_here_reads_and_changes_nothing(tmp_path: Path) -> None:
    toy = await write_toy_artifact(tmp_path / "toy")
    async with serving(FakeBackend(DIM), toy) as running:
        client, rebound = running.client, {"host": "evil.example"}
        put = await client.put("/label-sets/pets", json={"labels": ["a"]}, headers=rebound)
        assert (put.status_code, put.json()["code"]) == (421, "misdirected_request")
        for path in ("/", "/v1/models", "/livez", "/nowhere"):
            assert (await client.get(path, headers=rebound)).status_code == 421
        posted = await client.post("/embed", content=b"{}", headers=rebound)
        assert posted.json()["code"] == "misdirected_request"
        assert (await client.get("/label-sets")).json()["label_sets"] == []
    async with serving(FakeBackend(DIM), toy, allowed_hosts=("evil.example",)) as running:
        assert (await running.client.get("/v1/models", headers=rebound)).status_code == 200
