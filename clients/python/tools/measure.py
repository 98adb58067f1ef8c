"""Measures a server's Puts and Gets through this client: `python tools/measure.py HOST:PORT`.

64 tasks of one connection put values of 1 KiB under 10,000 keys and get them, one by one and 64 in a
call. Beside it, the same calls on the bare gRPC library, with requests that are made before: what
lies between the two is this package. All are measured for half a second in turn, 21 times, so that
what else the machine does falls on all of them; the middle of each is told.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import xxhash

import shardkeep
from shardkeep import methods
from shardkeep.v1 import key_value_pb2 as pb

TASKS = 64
KEYS = 10_000
SECONDS = 0.5
TURNS = 21
VALUE = os.urandom(1024)


async def rate(call: Callable[[int], Awaitable[object]]) -> float:
    """Calls per second."""
    begin = time.monotonic()
    counts = [0] * TASKS

    async def work(task: int) -> None:
        while time.monotonic() < begin + SECONDS:
            await call((counts[task] * TASKS + task) % KEYS)
            counts[task] += 1

    await asyncio.gather(*map(work, range(TASKS)))
    return sum(counts) / (time.monotonic() - begin)


def bare(
    channel: grpc.aio.Channel, method: methods.Method[Any, Any], requests: list[Any]
) -> Callable[[int], Awaitable[object]]:
    """The calls of a method on the library alone."""
    call: Any = channel.unary_unary(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    return lambda number: call(requests[number], timeout=60.0)


def near(number: int) -> list[str]:
    """As many keys as there are tasks."""
    return [f"key-{(number + other) % KEYS}" for other in range(TASKS)]


async def put_many(ns: shardkeep.Namespace, number: int) -> None:
    """As many puts as there are tasks, as one."""
    async with ns.batch() as batch:
        for key in near(number):
            batch.put(key, VALUE)


async def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8282"
    async with shardkeep.connect(target) as db, grpc.aio.insecure_channel(target) as channel:
        ns = db.default
        sum64 = xxhash.xxh64_intdigest(VALUE)
        keys = [b"key-%d" % number for number in range(KEYS)]
        puts = [
            pb.PutRequest(key=key, value=VALUE, sum64=sum64, value_type=pb.VALUE_TYPE_BYTES)
            for key in keys
        ]
        async with ns.batch() as batch:
            for key in keys:
                batch.put(key, VALUE)
        gets = [pb.GetRequest(key=key) for key in keys]
        calls: dict[str, Callable[[int], Awaitable[object]]] = {
            "Put": lambda number: ns.put(f"key-{number}", VALUE),
            "Put, bare gRPC": bare(channel, methods.PUT, puts),
            "Get": lambda number: ns.get(f"key-{number}"),
            "Get, bare gRPC": bare(channel, methods.GET, gets),
            "Put, batches of 64": lambda number: put_many(ns, number),
            "Get, get_many of 64": lambda number: ns.get_many(near(number)),
        }
        rates: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(TURNS):
            for name, call in calls.items():
                calls_per_second = await rate(call)
                rates[name].append(calls_per_second * (TASKS if "64" in name else 1))
        for name, measured in rates.items():
            print(f"{name:20} {statistics.median(measured):8,.0f} per second")


if __name__ == "__main__":
    asyncio.run(main())
