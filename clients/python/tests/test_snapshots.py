"""Snapshots, and deletes of many keys."""

from datetime import timedelta

import pytest

import shardkeep
from shardkeep import sync


async def test_a_snapshot_shows_what_was(db, ns):
    await ns.put("a", 1)
    await ns.put("b", 2)
    async with db.snapshot() as then:
        await ns.put("a", 10)
        await ns.delete("b")
        await ns.put("c", 3)
        assert then.version > 0
        was = then.default
        assert [await was.get(key) for key in ("a", "b", "c")] == [1, 2, None]
        assert [pair async for pair in was.range()] == [(b"a", 1), (b"b", 2)]
        assert [key async for key in was.range(reverse=True).keys()] == [b"b", b"a"]
        assert (await was.range().page(1)).records[0].value == 1
        assert await was.get_many(["a", "b", "c"]) == [1, 2, None]
        assert await was.contains("b") and not await ns.contains("b")
        assert (await was.read("a")).version < (await ns.read("a")).version
        assert (await was.head("b")).size == 1
        assert await was.read_range("a", 0) == b"1"
        before = then.expire_time
        await then.renew(timedelta(minutes=5))
        assert then.expire_time > before
        assert not hasattr(was, "put")
    with pytest.raises(shardkeep.NotFound) as gone:
        await was.get("a")
    assert gone.value.reason == "SNAPSHOT_NOT_FOUND"
    with pytest.raises(RuntimeError):
        then.id
    await then.close()


async def test_a_range_is_deleted(ns):
    for letter in "abc":
        for number in range(5):
            await ns.put(f"{letter}{number}", number)
    assert await ns.delete_range("a1", "a4") == 3
    assert await ns.delete_range(prefix="b") == 5
    assert [key async for key in ns.prefix("a").keys()] == [b"a0", b"a4"]
    with pytest.raises(shardkeep.InvalidArgument) as everything:
        await ns.delete_range()
    assert everything.value.reason == "SELECTION_EMPTY"
    assert await ns.delete_range(b"\0") == 7


def test_the_twin_has_them_too(server):
    with sync.connect(server.target) as db:
        db.default.put("a", 1)
        with db.snapshot() as then:
            db.default.delete_range(prefix="a")
            assert [key for key in then.default.range().keys()] == [b"a"]
        assert db.default.get("a") is None
        made = db.backups.create("daily")
        assert list(db.backups.list()) == [made]
        assert db.admin.verify() == []
