"""Who makes a call, and how it ends where its client cannot be answered."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from grpc.aio import InternalError, ServicerContext

from clipserve.rpc.call import Call, _host
from clipserve.rpc.dropping import drop
from clipserve.rpc.options import CallLimits
from tests.logs import logged
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
    assert _host(peer) == host


class Gone:
    """The context of a call whose client leaves during a write, as gRPC's library tells it."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1234"

    async def write(self, _: bytes) -> None:
        raise InternalError


async def test_a_write_to_a_client_that_leaves_ends_the_call_and_is_no_error_of_ours() -> None:
    call = Call("EmbedStream", cast(ServicerContext[Any, Any], Gone()), CallLimits(**cast(Any, LIMITS)))
    with pytest.raises(asyncio.CancelledError):
        await call.write(b"answer")


async def test_a_call_of_a_grpc_whose_tasks_are_not_known_is_ended_and_that_is_logged() -> None:
    unknown = asyncio.create_task(asyncio.Event().wait())
    with logged() as log:
        drop(unknown)
    await asyncio.wait([unknown])
    assert unknown.cancelled()
    assert log.events == ["grpc_calls_kept"]
