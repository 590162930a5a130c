"""`python -m clipserve.processes.worker FD`: one of several processes that serve on the same ports.

It listens from when it is ready on, so that no connection reaches a process that cannot answer. It ends when its
supervisor says so or has ended. What a terminal or a service manager sends to all processes of a group does not
count twice: SIGTERM lets it end gently, however often it comes, and SIGINT is the supervisor's.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

import uvloop

from clipserve.operations.pulse import Pulse, beside
from clipserve.processes.channel import line, receive_settings
from clipserve.processes.reports import ALONE, Reports
from clipserve.settings import Settings
from clipserve.telemetry import log
from clipserve.telemetry.log import logger
from clipserve.wiring.bootstrap import open_gateway
from clipserve.wiring.gateway import Gateway
from clipserve.wiring.listening import listen
from clipserve.wiring.serve import allow_files, end_gently, fronts, listen_grpc, settle_memory
from clipserve.wiring.start_faults import START_FAULTS


def main(descriptor: int) -> None:
    """Serve with the settings that come over the socket `descriptor`."""
    log.start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as channel:
        settings = receive_settings(channel)
        log.configure(settings.log_level)
        allow_files(settings)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_work(settings, channel))
        except START_FAULTS as error:
            channel.setblocking(True)  # asyncio had made it another
            channel.sendall(line(fault=str(error)))
            sys.exit(1)


async def _work(settings: Settings, channel: socket.socket) -> None:
    async with open_gateway(settings) as gateway:
        worker, pulse, loop = _Worker(settings, gateway), Pulse(), asyncio.get_running_loop()

        def obey(command: str) -> None:
            loop.call_soon_threadsafe(worker.obey, command)

        loop.add_signal_handler(signal.SIGTERM, worker.obey, "drain")
        gateway.metrics.state.watch_ready(lambda: pulse.ready)
        reports = Reports(channel, pulse, gateway.metrics.registry, obey)
        async with beside(pulse, worker.ready, reports.serve):
            await worker.run()


class _Worker:
    def __init__(self, settings: Settings, gateway: Gateway) -> None:
        self._settings = settings
        self._gateway = gateway
        self._listening = False
        self._ending = asyncio.Event()

    async def ready(self) -> bool:
        return self._listening and await self._gateway.inference.ready()

    async def run(self) -> None:
        """Until told to end."""
        warming = asyncio.create_task(self._gateway.warm_up())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({warming, ending}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return
            warming.result()
            listener = listen("CLIPSERVE_PORT", self._settings.host, self._settings.port, shared=True)
            listen_grpc(self._settings, self._gateway.rpc)
            settle_memory()
            self._listening = True
            await fronts(self._gateway, listener)
        finally:
            for task in (warming, ending):
                task.cancel()
            await asyncio.gather(warming, ending, return_exceptions=True)

    def obey(self, command: str) -> None:
        """`drain`, `end` or `ALONE`."""
        settings, first = self._settings, not self._ending.is_set()
        self._ending.set()
        if command == "end":
            self._gateway.end(at_once=True)
        elif first and command == ALONE:
            logger.warning("supervisor_gone", hint="this process ends; start the service again")
            end_gently(self._gateway, 0.0, settings.drain_seconds)
        elif first:
            end_gently(self._gateway, settings.drain_delay_seconds, settings.drain_seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]))
