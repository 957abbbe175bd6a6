"""The relay misbehaves as it is told to, and not otherwise: its mistakes would look like ours."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.support.chaos_proxy import ChaosProxy

SAID = bytes(range(256)) * 8


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize("trouble", ["piece_bytes", "delay_seconds", "stopped"])
async def test_what_is_healed_in_the_middle_of_it_loses_nothing(trouble):
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with ChaosProxy(lambda: f"http://127.0.0.1:{port}") as proxy:
            there = urlsplit(proxy.url)
            reader, writer = await asyncio.open_connection(there.hostname, there.port)
            for _ in range(20):
                setattr(
                    proxy, trouble, {"piece_bytes": 1, "delay_seconds": 0.01}.get(trouble, True)
                )
                writer.write(SAID)
                await asyncio.sleep(0.005)
                proxy.heal()
                assert await asyncio.wait_for(reader.readexactly(len(SAID)), 10) == SAID
            writer.close()
            await writer.wait_closed()


async def test_where_bytes_were_lost_the_connection_is_reset():
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with ChaosProxy(lambda: f"http://127.0.0.1:{port}") as proxy:
            there = urlsplit(proxy.url)
            reader, writer = await asyncio.open_connection(there.hostname, there.port)
            proxy.lost_up = True
            writer.write(SAID)
            await asyncio.sleep(0.05)
            proxy.heal()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.readexactly(1), 10)
            writer.close()
