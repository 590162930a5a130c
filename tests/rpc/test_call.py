"""Who makes a call, and how it ends where its client cannot be answered."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from grpc.aio import InternalError, ServicerContext

from clipserve.quota import Quota
from clipserve.rpc.calls import Call, host_of
from clipserve.rpc.options import RpcOptions
from tests.rpc.answering import LIMITS


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
    assert host_of(peer) == host


class Gone:
    """The context of a call whose client leaves during a write, as gRPC's library tells it."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1234"

    async def write(self, _: bytes) -> None:
        raise InternalError


async def test_a_write_to_a_client_that_leaves_ends_the_call_and_is_no_error_of_ours() -> None:
    context = cast(ServicerContext[Any, Any], Gone())
    call = Call("EmbedStream", context, Quota("bytes", 1_000), RpcOptions(**LIMITS))
    with pytest.raises(asyncio.CancelledError):
        await call.write(b"answer")
