"""Lists with two ends."""

import asyncio
import threading

import pytest

import shardkeep
from shardkeep import sync


async def test_a_list_is_changed_at_both_ends(ns):
    await ns.put("l\1", "behind the list")
    await ns.put("la", "of another key")
    numbers = ns.list("l")
    assert (await numbers.length(), await numbers.pop("none"), await numbers.get(0)) == (0, "none", None)
    assert [await numbers.push(value) for value in ("c", "d")] == [1, 2]
    assert [await numbers.push_left(value) for value in ("b", "a")] == [3, 4]
    assert [value async for value in numbers.values()] == ["a", "b", "c", "d"]
    assert [await numbers.get(index) for index in (0, 3, -1, -4, 4, -5)] == ["a", "d", "d", "a", None, None]
    await numbers.set(-1, {"json": 1})
    with pytest.raises(IndexError, match="index 4 of a list of 4"):
        await numbers.set(4, "beyond")
    assert (await numbers.pop(), await numbers.pop_left()) == ({"json": 1}, "a")
    assert await numbers.length() == 2
    assert await numbers.clear() == 2
    assert [value async for value in numbers.values()] == []
    await numbers.push_left("again")
    assert [value async for value in ns.list(b"l").values()] == ["again"]
    assert await ns.get_many(["l\1", "la"]) == ["behind the list", "of another key"]


async def test_what_is_no_list_is_left_alone(ns):
    await ns.put("l", "text")
    with pytest.raises(shardkeep.DecodeError, match="something else than a list") as refused:
        await ns.list("l").push(1)
    assert refused.value.reason == "NOT_A_LIST"
    assert await ns.get("l") == "text"


async def test_an_element_that_is_set_while_it_is_taken_is_not_lost(ns):
    items = ns.list("l")
    for turn in range(40):
        await items.push(f"{turn} before")

        async def change():
            try:
                await items.set(-1, f"{turn} after")
            except IndexError:
                return False
            return True

        changed, taken = await asyncio.gather(change(), items.pop())
        assert taken == (f"{turn} after" if changed else f"{turn} before")


async def test_elements_have_the_codec_of_their_prefix(db):
    raw = db.namespace("", codecs={"": shardkeep.BytesCodec()})
    await raw.list("l").push(b"\xff")
    assert await raw.list("l").pop() == b"\xff"


async def test_what_many_push_and_pop_at_once_is_all_there_once(ns):
    queue = ns.list("queue")

    async def produce(producer):
        for number in range(10):
            await queue.push([producer, number])

    async def consume():
        taken = []
        while len(taken) < 10:
            item = await queue.pop_left()
            if item is not None:
                taken.append(item)
        return taken

    taken = await asyncio.wait_for(
        asyncio.gather(*map(produce, range(4)), *(consume() for _ in range(4))), 120
    )
    items = [tuple(item) for part in taken[4:] for item in part]
    assert sorted(items) == [(producer, number) for producer in range(4) for number in range(10)]
    assert await queue.length() == 0
    # Who is first in the queue is first out, for every consumer and producer.
    for part in taken[4:]:
        for producer in range(4):
            numbers = [number for of, number in part if of == producer]
            assert numbers == sorted(numbers)


def test_the_twin_has_lists_too(server):
    with sync.connect(server.target) as db:
        threads = [
            threading.Thread(target=lambda: [db.default.list("l").push(1) for _ in range(5)])
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(db.default.list("l").values()) == [1] * 15
