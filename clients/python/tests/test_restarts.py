"""A server that stops in order and starts anew: it says GOAWAY and ends what is in flight."""

from __future__ import annotations

import asyncio
import signal

import shardkeep
from shardkeep import sync
from shardkeep.retry import Retry

VALUE = bytes(range(256)) * 4096


async def test_a_server_that_stops_in_order_and_starts_anew_loses_no_call(server):
    async with shardkeep.connect(server.target, retry=Retry(attempts=100)) as db:
        await db.default.put("large", VALUE)
        written: list[int] = []
        over = asyncio.Event()

        async def write() -> None:
            number = 0
            while not over.is_set():
                await db.default.put(f"k{number}", number)
                written.append(number)
                number += 1

        async def read() -> None:
            while not over.is_set():
                assert await db.default.get("large") == VALUE

        working = [asyncio.create_task(it()) for it in (write, read, read)]
        for _ in range(3):
            so_far = len(written)
            server.end(signal.SIGTERM)
            server.start()
            while len(written) < so_far + 20:
                await asyncio.sleep(0.01)
        over.set()
        await asyncio.gather(*working)
        found = await db.default.get_many([f"k{number}" for number in written])
        assert found == written


def test_the_synchronous_client_loses_no_call_over_a_restart(server):
    with sync.connect(server.target, retry=Retry(attempts=100)) as db:
        for number in range(3):
            db.default.put("k", number)
            server.end(signal.SIGTERM)
            server.start()
            assert db.default.get("k") == number
