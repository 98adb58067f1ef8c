"""Batches and transactions."""

import asyncio
import signal
import threading
from datetime import timedelta

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


async def test_a_batch_touches_and_counts(db):
    ns = db.default
    await ns.put("session", "open")
    async with ns.batch() as batch:
        batch.put("a", 1)
        batch.touch("session", timedelta(hours=1))
        batch.increment("n", 2, initial=10)
        batch.increment("n", 3)
    _, session, count = batch.result.results
    assert session == await ns.head("session") and session.expire_time
    assert count == 15 == await ns.get("n")
    batch = ns.batch()
    batch.put("a", 2)
    batch.touch("not there")
    with pytest.raises(shardkeep.NotFound) as refused:
        await batch.commit()
    assert refused.value.reason == "KEY_NOT_FOUND" and "not there" in str(refused.value)
    assert await ns.get("a") == 1
    batch = ns.batch()
    batch.put("a", 2)
    for change in (batch.touch, batch.increment):
        with pytest.raises(ValueError, match="another change"):
            change("a")
    batch.increment("b")
    batch.delete("b")
    assert (await batch.commit()).results[1].deleted is False


async def test_a_transaction_reads_what_it_touches_and_counts(db):
    ns = db.default
    await ns.increment("n", 5)
    await ns.put("text", "x")
    async with db.transaction() as tx:
        tx.increment("n", 2)
        tx.increment("new", initial=100)
        tx.touch("text")
        point = tx.savepoint()
        tx.increment("n")
        assert await tx.get_many(["n", "new", "text"]) == [8, 101, "x"]
        tx.rollback_to(point)
        assert await tx.peek("n") == 7
    assert await ns.get_many(["n", "new"]) == [7, 101]
    async with db.transaction() as tx:
        tx.increment("text")
        with pytest.raises(shardkeep.InvalidArgument) as refused:
            await tx.get("text")
        assert refused.value.reason == "NOT_A_COUNTER"
        tx.rollback()


async def test_counts_of_transactions_need_no_second_try(db):
    async def one(tx):
        tx.increment("a")
        tx.increment("b", -1)

    await asyncio.gather(*(db.default.transact(one, attempts=1) for _ in range(20)))
    assert await db.default.get_many(["a", "b"]) == [20, -20]


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


async def test_a_batch_can_say_what_happens_otherwise(db):
    ns = db.default
    for turn in range(2):
        batch = ns.batch()
        batch.require("lock", shardkeep.if_absent())
        batch.put("lock", "mine")
        batch.otherwise.put("refused", turn)
        batch.otherwise.delete("nothing")
        result = await batch.commit()
        assert result.succeeded == (turn == 0)
        assert len(result.results) == (1 if turn == 0 else 2)
    assert await ns.get_many(["lock", "refused"]) == ["mine", 1]


async def test_what_is_over_takes_no_changes(db):
    ns = db.default
    batch, undone = ns.batch(), ns.batch()
    batch.put("a", 1)
    await batch.commit()
    undone.rollback()
    for over in (batch, undone):
        for change in (lambda: over.put("a", 2), lambda: over.delete("a")):
            with pytest.raises(RuntimeError, match="begin another"):
                change()
        with pytest.raises(RuntimeError, match="begin another"):
            await over.commit()
    async with ns.transaction() as tx:
        await tx.get("a")
    with pytest.raises(RuntimeError, match="begin another"):
        await tx.get("a")


async def test_a_batch_at_the_limits(db):
    ns = db.default
    async with ns.batch() as batch:
        for number in range(10_000):
            batch.put(f"{number}", number)
    assert len(batch.result.results) == await ns.range().count() == 10_000
    values = await ns.get_many(str(number) for number in range(10_000))
    assert values == [*range(10_000)]
    batch = ns.batch()
    for number in range(10_001):
        batch.put(f"{number}", "too many")
    with pytest.raises(shardkeep.InvalidArgument) as refused:
        await batch.commit()
    assert (refused.value.reason, refused.value.field) == ("COMMIT_TOO_LARGE", "operations")
    batch = ns.batch()
    for number in range(5):
        batch.put(f"{number}", b"x" * (13 << 20))
    with pytest.raises(shardkeep.InvalidArgument) as refused:
        await batch.commit()
    assert refused.value.reason == "COMMIT_TOO_LARGE"
    assert await ns.get("0") == 0
    with pytest.raises(shardkeep.InvalidArgument) as refused:
        await ns.get_many(str(number) for number in range(10_001))
    assert refused.value.reason == "TOO_MANY_KEYS"


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


async def test_reads_at_the_same_time_are_of_one_moment(db):
    ns = db.default
    await ns.put("a", 0)
    await ns.put("b", 0)
    stop = asyncio.Event()

    async def both():
        turn = 0
        while not stop.is_set():
            turn += 1
            async with ns.batch() as batch:
                batch.put("a", turn)
                batch.put("b", turn)

    writing = asyncio.create_task(both())
    for _ in range(50):
        async with ns.transaction() as tx:
            a, b = await asyncio.gather(tx.peek("a"), tx.peek("b"))
            assert a == b
            assert await tx.get_many(["b", "none", "b"], "no") == [b, "no", b]
            tx.rollback()
    stop.set()
    await writing


async def test_a_transaction_that_has_only_read_sends_nothing(db):
    ns = db.default
    await ns.put("a", 1)
    async with ns.transaction() as tx:
        assert await tx.get("a") == 1
        await ns.put("a", 2)
    assert (tx.result.succeeded, tx.result.version) == (True, 0)


async def test_a_transaction_begins_again_when_its_server_does(server):
    async with shardkeep.connect(server.target, retry=shardkeep.Retry(attempts=100)) as db:
        ns = db.default
        await ns.put("n", 0)
        turns = []

        async def work(tx):
            number = await tx.get("n")
            if not turns:
                server.end(signal.SIGKILL)
                server.start()
            turns.append(number)
            await tx.get("other")
            tx.put("n", number + 1)

        await ns.transact(work)
        assert (turns, await ns.get("n")) == ([0, 0], 1)


async def test_a_commit_is_done_though_its_snapshot_cannot_be_let_go(server):
    async with shardkeep.connect(server.target) as db:
        async with db.default.transaction() as tx:
            await tx.get("a")
            tx.put("a", 1)
            await tx.commit()
            server.end(signal.SIGKILL)
        assert tx.result.succeeded
        server.start()
        assert await db.default.get("a") == 1


async def test_a_long_transaction_keeps_its_moment(db):
    ns = db.default
    async with ns.transaction(lease=timedelta(seconds=4)) as tx:
        deadline = asyncio.get_running_loop().time() + 9
        while asyncio.get_running_loop().time() < deadline:
            assert await tx.peek("a") is None
            await ns.put("a", 1)


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
