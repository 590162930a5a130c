"""Whose connections and requests count together."""

from __future__ import annotations

import pytest

from clipserve.connections import address_of


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_address_stands_for_the_network_of_one_customer(host: str, address: str) -> None:
    assert address_of(host) == address
