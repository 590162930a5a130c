"""What goes to a server over which connection."""

from __future__ import annotations

from tests.triton.backends import backend_on
from tests.triton.stand_in import StandIn


async def test_calls_and_questions_share_one_connection(one: StandIn) -> None:
    async with backend_on(one) as backend:
        await backend.server_of()
    assert {name for name, _ in one.peers} == {"ModelReady", "ModelInfer"}
    assert len({peer for _, peer in one.peers}) == 1
