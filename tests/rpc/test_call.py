"""Who makes a call."""

from __future__ import annotations

import pytest

from clipserve.rpc.call import _host


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:1234", "127.0.0.1"),
        ("ipv6:%5B::1%5D:1234", "::1"),
        ("ipv6:[2001:db8::1]:1234", "2001:db8::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1234", "fe80::1%eth0"),
        ("unix:", ""),
    ],
)
def test_the_host_of_a_peer_is_known_however_grpc_writes_it(peer: str, host: str) -> None:
    assert _host(peer) == host
