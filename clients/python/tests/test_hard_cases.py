"""Callers that give up, loops and connections that end, servers that die or fall silent."""

import asyncio
import contextlib
import signal
import threading
import time

import pytest

import shardkeep
from shardkeep import sync

PATIENT = shardkeep.Retry(attempts=100, budget=10_000)


async def full(ns, count=2_000):
    async with ns.batch() as batch:
        for number in range(count):
            batch.put(f"k{number:05}", "x" * 1_000)


async def test_streams_that_are_left_early_leave_room_for_others(ns):
    await full(ns, 300)
    for _ in range(150):
        async for _ in ns.range():
            break
    for _ in range(150):
        walking = asyncio.create_task(ns.range().count())
        await asyncio.sleep(0)
        walking.cancel()
    assert await ns.range().count() == 300


async def test_walks_within_walks_do_not_wait_for_each_other(ns):
    await full(ns, 300)

    async def walk():
        async for key in ns.range().keys():
            return await ns.get(key)

    walks = [ns.range() for _ in range(300)]
    async with contextlib.AsyncExitStack() as stack:
        open_walks = [
            await stack.enter_async_context(contextlib.aclosing(each.items())) for each in walks
        ]
        assert len([await anext(each) for each in open_walks]) == 300
        assert await asyncio.wait_for(walk(), 60) == "x" * 1_000


async def test_a_cancelled_call_is_cancelled_and_the_next_one_is_answered(ns):
    for _ in range(100):
        call = asyncio.create_task(ns.put("k", b"x" * 100_000))
        await asyncio.sleep(0)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
    await ns.put("k", "last")
    assert await ns.get("k") == "last"


async def test_a_thousand_tasks_share_a_connection(ns):
    async def work(number):
        await ns.put(f"k{number}", number)
        return await ns.get(f"k{number}")

    assert await asyncio.gather(*map(work, range(1_000))) == [*range(1_000)]


async def test_what_is_under_way_ends_with_its_connection(server):
    db = shardkeep.connect(server.target)
    await db.open()
    ns = db.default
    await full(ns)
    walk = ns.range().items()
    await anext(walk)
    calls = [asyncio.create_task(ns.put(f"n{number}", b"x" * 1_000_000)) for number in range(20)]
    await asyncio.sleep(0)
    await db.close()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(
        isinstance(each, shardkeep.PutResult)
        or (isinstance(each, shardkeep.Unavailable) and each.outcome_unknown)
        for each in ended
    ), ended
    assert any(isinstance(each, shardkeep.Unavailable) for each in ended)
    with pytest.raises(shardkeep.Unavailable, match="closed meanwhile"):
        async for _ in walk:
            pass
    for call in (ns.get("k"), ns.put("k", 1), ns.range().count(), anext(ns.watch())):
        with pytest.raises(RuntimeError, match="is closed: open it again"):
            await call
    await db.open()
    assert await ns.get("k00000") == "x" * 1_000
    await db.close()


def test_a_connection_goes_on_in_another_loop_when_its_own_is_gone(server):
    db = shardkeep.connect(server.target)

    async def once(number):
        await db.default.put("k", number)
        return [pair async for pair in db.default.range()]

    for number in range(3):
        assert asyncio.run(once(number)) == [(b"k", number)]

    async def elsewhere():
        await db.default.get("k")
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, db.default.get("k"))
        await db.close()

    asyncio.run(elsewhere())


def test_a_loop_may_end_in_the_middle_of_everything(server):
    async def leave():
        db = shardkeep.connect(server.target)
        await full(db.default)
        walk = db.default.range().items()
        await anext(walk)
        watch = db.default.watch()
        await watch.__aenter__()
        tasks = [asyncio.create_task(anext(watch)), asyncio.create_task(db.default.get("k"))]
        await asyncio.sleep(0)
        return db, walk, tasks

    for _ in range(3):
        kept = asyncio.run(leave())
        assert all(task.done() for task in kept[2])


async def test_a_silent_server_is_noticed(server):
    async with shardkeep.connect(server.target, keepalive=1.0, retry=None) as db:
        watch = db.default.watch()
        async with watch:
            walking = asyncio.create_task(anext(watch))
            server.signal(signal.SIGSTOP)
            try:
                with pytest.raises(shardkeep.Unavailable):
                    await asyncio.wait_for(walking, 60)
                with pytest.raises((shardkeep.DeadlineExceeded, shardkeep.Unavailable)):
                    await db.default.get("k", timeout=0.2)
            finally:
                server.signal(signal.SIGCONT)
        async with shardkeep.connect(server.target) as again:
            assert await again.default.get("k") is None


async def test_batches_under_kills_happen_whole_or_not_at_all(server):
    async with shardkeep.connect(server.target, retry=PATIENT) as db:
        ns = db.default
        acknowledged = 0

        async def write():
            nonlocal acknowledged
            for turn in range(1, 400):
                batch = ns.batch()
                for key in range(20):
                    batch.put(f"k{key}", turn)
                await batch.commit()
                acknowledged = turn

        writing = asyncio.create_task(write())
        for _ in range(4):
            await asyncio.sleep(0.1)
            server.end(signal.SIGKILL)
            server.start()
            before = acknowledged
            values = await ns.get_many(f"k{key}" for key in range(20))
            assert len(set(values)) == 1
            assert (values[0] or 0) >= before
        await asyncio.wait_for(writing, 60)
        assert await ns.get("k7") == 399


async def test_counting_transactions_under_kills_count_what_was_acknowledged(server):
    async with shardkeep.connect(server.target, retry=PATIENT) as db:
        ns = db.default
        await ns.put("n", 0)
        sure, unsure = 0, 0

        async def count():
            nonlocal sure, unsure
            for _ in range(60):
                try:
                    async with ns.transaction() as tx:
                        tx.put("n", await tx.get("n") + 1)
                    sure += 1
                except shardkeep.Conflict:
                    pass
                except shardkeep.Error as error:
                    assert error.outcome_unknown, error
                    unsure += 1

        counting = [asyncio.create_task(count()) for _ in range(3)]
        for _ in range(3):
            await asyncio.sleep(0.2)
            server.end(signal.SIGKILL)
            server.start()
        await asyncio.wait_for(asyncio.gather(*counting), 120)
        assert sure > 0
        assert sure <= await ns.get("n") <= sure + unsure


def test_threads_that_come_first_together_make_one_connection(server):
    db = sync.connect(server.target)
    barrier, answers = threading.Barrier(16), []

    def work(number):
        barrier.wait()
        db.default.put(f"k{number}", number)
        answers.append(db.default.get(f"k{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    db.close()
    assert sorted(answers) == [*range(16)]


def test_closing_ends_what_other_threads_do(server):
    db = sync.connect(server.target)
    db.open()
    ended = []

    def work():
        try:
            while True:
                db.default.put("k", b"x" * 100_000)
        except (shardkeep.Unavailable, RuntimeError) as error:
            ended.append(error)

    def watch():
        try:
            for _ in db.default.watch():
                pass
        except (shardkeep.Unavailable, RuntimeError) as error:
            ended.append(error)

    threads = [threading.Thread(target=each) for each in (work, work, watch)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    db.close()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 3
