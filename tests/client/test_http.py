"""How a request is written."""

from __future__ import annotations

import httpx2

from clipserve.client.http import exchange


class Recorder(httpx2.AsyncBaseTransport):
    """A transport that keeps what it is given to write, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        self.pieces = [piece async for piece in request.stream]
        return httpx2.Response(200, stream=httpx2.ByteStream(b"{}"))


async def test_a_form_of_many_fields_is_written_at_once() -> None:
    form = [("labels", (None, f"label {number}")) for number in range(10)]
    transport = Recorder()
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
        await exchange(client, "POST", "/classify", files=[("image", ("a.png", b"bytes")), *form])
    (body,) = transport.pieces
    assert body.count(b"label ") == 10
