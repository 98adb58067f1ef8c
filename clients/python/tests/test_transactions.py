"""Batches and transactions."""

import asyncio
import threading

import pytest

import shardkeep
from shardkeep import sync


async def test_a_batch_happens_as_one(db):
    ns = db.default
    await ns.put("goes", 1)
    async with ns.batch() as batch:
        batch.put("a", {"n": 1}, metadata={"of": "test"})
        batch.put("b", "first")
        batch.put("b", "second")
        batch.delete("goes")
        batch.delete("never was")
        assert await ns.get("a") is None
    assert await ns.get_many(["a", "b", "goes"]) == [{"n": 1}, "second", None]
    versions = {entry.version for entry in await ns.head_many(["a", "b"])}
    assert versions == {batch.result.version}
    a, b, goes, never = batch.result.results
    assert a.created and b.created and goes.deleted and not never.deleted


async def test_an_exception_drops_a_batch(db):
    ns = db.default
    with pytest.raises(KeyError):
        async with ns.batch() as batch:
            batch.put("a", 1)
            raise KeyError
    async with ns.batch() as batch:
        batch.put("a", 1)
        batch.rollback()
    assert batch.result is None
    assert await ns.get("a") is None


async def test_a_batch_can_ask_for_what_must_be_so(db):
    ns = db.default
    first = await ns.put("a", 1)
    cases = [
        (shardkeep.if_version(first.version), True),
        (shardkeep.if_version(first.version), False),
        (shardkeep.if_absent(), False),
        (shardkeep.if_present(), True),
    ]
    for turn, (condition, holds) in enumerate(cases):
        batch = ns.batch()
        batch.require("a", condition)
        batch.put("a", 2)
        batch.put("b", turn)
        if holds:
            await batch.commit()
        else:
            with pytest.raises(shardkeep.Conflict) as refused:
                await batch.commit()
            assert refused.value.reason == "CONDITION_FAILED"
        assert (await ns.get("b") == turn) == holds


async def test_a_transaction_reads_one_moment_and_its_own_changes(db):
    ns = db.default
    await ns.put("a", 1)
    await ns.put("b", 1)
    async with db.transaction() as tx:
        assert await tx.get("a") == 1
        await ns.put("b", 2)
        assert await tx.peek("b") == 1, "as of the moment of the first read"
        tx.put("a", 10)
        assert await tx.get("a") == 10
        point = tx.savepoint()
        tx.delete("a")
        tx.put("c", 3)
        assert await tx.get("a", "gone") == "gone"
        tx.rollback_to(point)
        assert await tx.get("a") == 10
    assert await ns.get_many(["a", "b", "c"]) == [10, 2, None]


async def test_a_transaction_fails_when_what_it_read_has_changed(db):
    ns = db.default
    await ns.put("a", 1)
    for key in ["a", "absent"]:
        with pytest.raises(shardkeep.Conflict):
            async with ns.transaction() as tx:
                await tx.get(key)
                await ns.put(key, 5)
                tx.put("result", key)
    assert await ns.get("result") is None


async def test_transactions_that_are_tried_again_lose_nothing(db):
    ns = db.default
    for account in range(4):
        await ns.put(f"account/{account}", 100)

    async def move(turn):
        async def work(tx):
            source, target = f"account/{turn % 4}", f"account/{(turn + 1) % 4}"
            amount = await tx.get(source)
            tx.put(source, amount - 1)
            tx.put(target, await tx.get(target) + 1)

        await ns.transact(work, attempts=200)

    await asyncio.gather(*(move(turn) for turn in range(24)))
    amounts = await ns.get_many([f"account/{account}" for account in range(4)])
    assert sum(amounts) == 400


def test_the_twin_has_transactions_too(server):
    with sync.connect(server.target) as db:
        ns = db.default
        ns.put("n", 0)

        def count():
            for _ in range(5):
                ns.transact(lambda tx: tx.put("n", tx.get("n") + 1), attempts=200)

        threads = [threading.Thread(target=count) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ns.get("n") == 15
        with ns.batch() as batch:
            batch.put("a", 1)
            batch.delete("n")
        assert ns.get_many(["a", "n"]) == [1, None]
