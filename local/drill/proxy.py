"""TCP proxies in front of servers: the network between two services, to be disturbed at will.

``python proxy.py --delay-s 3 PORT...`` runs one for each port of 127.0.0.1, prints the ports
on which they listen, and takes lines such as ``0 drop`` (the first one, a mode) until the end of
its input, which is also its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import enum
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Final

PIECE_BYTES: Final = 65_536
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Mode(enum.Enum):
    """What becomes of the bytes, in both directions.

    DROP is a cable pulled: nothing arrives and nobody is told; what was sent comes through
    afterwards, as TCP repeats it. DELAY passes a piece every few seconds. RESET ends every
    connection with an error, new ones too.
    """

    PASS = "pass"  # noqa: S105 - no password
    DROP = "drop"
    DELAY = "delay"
    RESET = "reset"


class Proxy:
    """Listens from its construction on, on ``port`` of 127.0.0.1, and forwards once it is served.

    A server that is not there is answered for with a reset.
    """

    def __init__(self, target_port: int, delay_s: float) -> None:
        self._target_port = target_port
        self._delay_s = delay_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: Final[int] = self._listener.getsockname()[1]
        self._mode = Mode.PASS
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def set(self, mode: Mode) -> None:
        """Change the mode, of open connections too."""
        self._mode = mode
        if mode is Mode.DROP:
            self._may_pass.clear()
        else:
            self._may_pass.set()
        if mode is Mode.RESET:
            for writer in self._writers:
                _reset(writer)

    async def serve(self) -> None:
        """Begin to forward; returns at once."""
        await asyncio.start_server(self._connected, sock=self._listener)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._open(writer):
            await self._may_pass.wait()
            try:
                if self._mode is Mode.RESET:
                    raise ConnectionResetError
                target_reader, target_writer = await asyncio.open_connection(
                    "127.0.0.1", self._target_port
                )
            except OSError:
                _reset(writer)
                return
            with self._open(target_writer):
                await asyncio.gather(
                    self._pump(reader, target_writer), self._pump(target_reader, writer)
                )

    @contextlib.contextmanager
    def _open(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one side sends until it ends; its error becomes a reset of the other."""
        try:
            while piece := await reader.read(PIECE_BYTES):
                if self._mode is Mode.DELAY:
                    await asyncio.sleep(self._delay_s)
                await self._may_pass.wait()
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
        except OSError:
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a reset instead of an orderly end."""
    if writer.is_closing():
        return
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


async def _run(target_ports: list[int], delay_s: float) -> None:
    proxies = [Proxy(port, delay_s) for port in target_ports]
    for proxy in proxies:
        await proxy.serve()
    print(*(proxy.port for proxy in proxies), flush=True)
    commands = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await commands.readline():
        number, mode = line.decode().split()
        proxies[int(number)].set(Mode(mode))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ports", type=int, nargs="+", metavar="PORT")
    parser.add_argument("--delay-s", type=float, required=True)
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.ports, arguments.delay_s))
    return 0


if __name__ == "__main__":
    sys.exit(main())
