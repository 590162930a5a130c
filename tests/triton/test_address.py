"""Where Triton servers are: what the setting says, and the addresses behind a name."""

from __future__ import annotations

import pytest

from clipserve.engine.triton.address import Address, look_up, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("triton:8001", Address("triton", 8001)),
        ("triton:1", Address("triton", 1)),
        ("triton:65535", Address("triton", 65_535)),
        ("triton.clipserve.svc.cluster.local:8001", Address("triton.clipserve.svc.cluster.local", 8001)),
        ("10.0.0.7:8001", Address("10.0.0.7", 8001)),
        ("[fd00::7]:8001", Address("fd00::7", 8001)),
    ],
)
def test_an_endpoint_is_host_and_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "triton", "triton:", ":8001", "triton:0", "triton:65536", "http://triton:8001", "dns:///triton:8001",
     "fd00::7:8001", "[triton]:8001", "[fd00::7:8001]", "[beef]:8001", "a b:8001", "triton:8001/"],
)  # fmt: skip
def test_anything_else_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port") as error:
        parse_address(text)
    assert repr(text) in str(error.value)


async def test_a_written_address_is_not_looked_up() -> None:
    assert await look_up(Address("192.0.2.1", 8001)) == ["192.0.2.1:8001"]
    assert await look_up(Address("2001:db8::1", 8001)) == ["[2001:db8::1]:8001"]


async def test_a_name_stands_for_its_addresses_of_one_family() -> None:
    assert await look_up(Address("localhost", 8001)) in (["127.0.0.1:8001"], ["[::1]:8001"])


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a..b", "a" * 64])
async def test_a_name_without_an_address_is_an_error_that_is_caught(name: str) -> None:
    with pytest.raises((OSError, UnicodeError)):
        await look_up(Address(name, 8001))
