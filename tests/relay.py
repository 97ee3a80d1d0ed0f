"""The counting relay in front of a test server; `servers.py` runs this file as a script.

`relay.py <wire log> <port of the server> <command of the server ...>`: listens on a port of its own, starts the
command (`{url}` in it becomes the relay's address), prints that address when the server takes connections, and then
passes all bytes on unchanged. Each request is written to the wire log, as a JSON line `[method, target, copies]`,
before its first byte goes on: whoever has an answer finds the request in the log. It ends, and its server with it,
at SIGTERM or when its standard input ends, as it does when pytest dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys

HOST = "127.0.0.1"
BLOCK = 1 << 16
POLL_SECONDS = 0.02
STOP_SECONDS = 5.0


class Relay:
    """One listening port, one server behind it."""

    def __init__(self, wire_log: str, port: int) -> None:
        self.log = os.open(wire_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.port = port
        self.ended = asyncio.Event()
        self.connections: set[asyncio.Task[None]] = set()

    async def run(self, command: list[str]) -> int:
        """Serve until told to end; return the exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.ended.set)
        loop.add_reader(sys.stdin.fileno(), self._at_input)
        listener = await asyncio.start_server(self.connect, HOST, 0, limit=1 << 20, backlog=512)
        url = f"http://{HOST}:{listener.sockets[0].getsockname()[1]}"
        command = [word.replace("{url}", url) for word in command]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)  # noqa: ASYNC220 - once
        try:
            if not await self._answers(server):
                return 1
            print(url, flush=True)
            await self.ended.wait()
            return 0
        finally:
            server.terminate()
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client to a connection of its own to the server."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self.connections.discard)
        with contextlib.suppress(OSError, EOFError):
            server_reader, server_writer = await asyncio.open_connection(HOST, self.port)
            answers = asyncio.create_task(pump(server_reader, writer))
            try:
                await self.requests(reader, server_writer)
                server_writer.write_eof()
                await answers
            finally:
                answers.cancel()
                server_writer.close()
        writer.close()

    async def requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """Pass requests on, one after the other, noting each before it leaves."""
        while head := await read_head(client):
            first, *rest = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ", 2)
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
            note = json.dumps([method, target, "x-amz-copy-source" in fields])
            os.write(self.log, note.encode() + b"\n")
            server.write(head)
            if fields.get("transfer-encoding", "").lower() == "chunked":
                await pass_chunks(client, server)
            else:
                await pass_bytes(client, server, int(fields.get("content-length", "0")))

    async def _answers(self, server: subprocess.Popen[bytes]) -> bool:
        """Wait until the server takes connections; False if it or the relay ended first."""
        while server.poll() is None and not self.ended.is_set():
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, self.port)
                writer.close()
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), POLL_SECONDS)
        return False

    def _at_input(self) -> None:
        """Nothing is ever written to standard input: what there is to read is its end."""
        if not os.read(sys.stdin.fileno(), BLOCK):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.ended.set()


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then end the sink."""
    with contextlib.suppress(OSError):
        while block := await source.read(BLOCK):
            sink.write(block)
            await sink.drain()
    sink.close()


async def read_head(source: asyncio.StreamReader) -> bytes:
    """Return the next request's line and header fields, or nothing when the client has no more."""
    try:
        return await source.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def pass_bytes(source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: int) -> None:
    """Copy exactly so many bytes."""
    while count:
        block = await source.read(min(count, BLOCK))
        if not block:
            raise EOFError
        count -= len(block)
        sink.write(block)
        await sink.drain()


async def pass_chunks(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy a chunked body: sized chunks, one of size 0, trailers, an empty line."""
    while size := int((line := await source.readuntil(b"\r\n")).split(b";")[0], 16):
        sink.write(line)
        await pass_bytes(source, sink, size + 2)
    while line != b"\r\n":
        sink.write(line)
        line = await source.readuntil(b"\r\n")
    sink.write(line)


if __name__ == "__main__":
    sys.exit(asyncio.run(Relay(sys.argv[1], int(sys.argv[2])).run(sys.argv[3:])))
