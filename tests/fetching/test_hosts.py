"""What may be listed, which URLs then match, and which addresses a name may have."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from clipserve.fetching.hosts import Host, Target, target_of

NO_HOSTS = "* *. a.*.com Images.example.com user@a.com ftp://a.com a.com/path a.com=here [::1]"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("images.example.com", Host("https", "images.example.com", 443)),
        ("http://images.example.com", Host("http", "images.example.com", 80)),
        ("*.example.com:8443", Host("https", "*.example.com", 8443)),
    ],
)
def test_a_host_is_listed_with_its_scheme_and_port(text: str, host: Host) -> None:
    assert Host.parse(text) == host


@pytest.mark.parametrize(
    "text",
    ["", *NO_HOSTS.split()],
)
def test_what_is_no_host_is_not_listed(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a host|does not appear to be"):
        Host.parse(text)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.com/x.jpg?y=1", Target("https", "a.com", 443, "/x.jpg?y=1")),
        ("HTTPS://A.com", Target("https", "a.com", 443, "/")),
        ("http://a.com:81?y#z", Target("http", "a.com", 81, "/?y")),
    ],
)
def test_a_url_has_one_target(url: str, target: Target) -> None:
    assert target_of(url) == target


def test_a_star_stands_for_any_name_below() -> None:
    star = Host.parse("*.example.com")
    assert star.matches(Target("https", "a.b.example.com", 443, "/"))
    for host in ("example.com", "aexample.com", "example.com.evil.net", "a.example.com."):
        assert not star.matches(Target("https", host, 443, "/")), host


# IANA's registries iana-ipv4-special-registry and iana-ipv6-special-registry, multicast, and fec0::/10 of old.
SPECIAL = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.8/32
    192.0.0.9/32 192.0.0.10/32 192.0.0.170/31 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24
    192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 ::/96
    ::1/128 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:1::1/128
    2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16
    2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""


PUBLIC = "1.1.1.1 191.255.255.255 192.0.1.1 192.1.0.1 2001:200::1 2001:4860:4860::8888 3ffe::1"


@pytest.mark.parametrize("network", SPECIAL.split())
def test_no_name_leads_to_an_address_of_a_special_purpose(network: str) -> None:
    addresses = ip_network(network)
    host = Host.parse("a.com")
    assert not [
        each
        for each in (addresses[0], addresses[1 % addresses.num_addresses], addresses[-1])
        if host.admits(each)
    ]


@pytest.mark.parametrize(
    "address",
    PUBLIC.split(),
)
def test_a_public_neighbour_of_these_is_admitted(address: str) -> None:
    assert Host.parse("a.com").admits(ip_address(address))


def test_a_listed_network_is_the_only_place_of_its_host() -> None:
    host = Host.parse("files.internal=10.1.0.0/16")
    assert host.admits(ip_address("10.1.2.3"))
    for other in ("10.2.0.1", "8.8.8.8", "::ffff:10.1.2.3"):
        assert not host.admits(ip_address(other)), other
    for public in ("8.8.8.8", "2606:4700::1111"):
        assert Host.parse("a.com").admits(ip_address(public)), public
