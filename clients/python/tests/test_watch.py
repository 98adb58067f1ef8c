"""Watches: every change once and in order, whatever breaks."""

import asyncio
import shutil
import signal
import threading
import time
from datetime import timedelta

import pytest
from conftest import Server

import shardkeep
from shardkeep import ChangeKind, sync

PUT, DELETE, EXPIRE = ChangeKind.PUT, ChangeKind.DELETE, ChangeKind.EXPIRE
PATIENT = shardkeep.Retry(attempts=100)


def seen(change):
    return change.kind, change.key, change.version


async def take(watch, count):
    """The next changes, which must come."""
    return [await asyncio.wait_for(anext(watch), 60) for _ in range(count)]


async def test_a_watch_tells_what_happens_to_its_keys(db, ns):
    await ns.put("a", "before")
    async with ns.watch(prefix="a", values=True) as watch:
        begun = watch.version
        put = await ns.put("a1", {"n": 1}, metadata={"by": "me"})
        await ns.put("b", "of others")
        await (await db.create_namespace("other")).put("a", "of others")
        gone = await ns.delete("a1")
        short = await ns.put("a2", 2, expires=timedelta(milliseconds=1))
        first, second, third, fourth = await take(watch, 4)
        assert seen(first) == (PUT, b"a1", put.version)
        assert (first.value, first.entry.metadata) == ({"n": 1}, {"by": "me"})
        assert seen(second) == (DELETE, b"a1", gone.version)
        assert (second.entry, second.data, second.value) == (None, None, None)
        assert seen(third) == (PUT, b"a2", short.version) and third.value == 2
        assert (fourth.kind, fourth.key) == (EXPIRE, b"a2")
        assert begun < put.version and watch.version >= fourth.version
    async with ns.watch(after=begun) as again:
        told = await take(again, 5)
        assert [change.key for change in told] == [b"a1", b"b", b"a1", b"a2", b"a2"]
        assert told[0].data is None and told[0].entry.size == 7


async def test_large_values_are_told_without_their_bytes(ns):
    async with ns.watch(values=True) as watch:
        await ns.put("large", b"x" * 100_000)
        (change,) = await take(watch, 1)
        assert (change.data, change.value, change.entry.size) == (None, None, 100_000)


async def test_a_watch_tells_how_far_it_is_while_others_change(ns):
    async with ns.watch(prefix="mine", progress=timedelta(milliseconds=100)) as watch:
        other = await ns.put("other", 1)
        async for page in watch.pages():
            assert page.changes == []
            if page.version >= other.version:
                break
        assert watch.version == page.version
        with pytest.raises(shardkeep.InvalidArgument) as refused:
            await anext(ns.watch(progress=timedelta(days=1)))
        assert refused.value.reason == "PROGRESS_INTERVAL_RANGE"


async def test_pages_and_changes_are_the_same_walk(ns):
    async with ns.watch() as watch:
        versions = [(await ns.put(f"k{number}", number)).version for number in range(5)]
        (first,) = await take(watch, 1)
        told = [first.version]
        async for page in watch.pages():
            told += [change.version for change in page.changes]
            if len(told) == 5:
                break
        assert told == versions


async def test_a_walk_goes_on_where_the_last_one_ended(ns):
    async with ns.watch() as watch:
        versions = [(await ns.put(f"k{number}", number)).version for number in range(6)]
        told = []
        while len(told) < 6:
            async for change in watch:
                told.append(change.version)
                break
        assert told == versions
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(watch), 0.05)
        versions.append((await ns.put("after", "a wait that was given up")).version)
        assert (await take(watch, 1))[0].version == versions[-1]


async def test_a_watch_goes_on_over_the_death_of_its_server(server):
    async with shardkeep.connect(server.target, retry=PATIENT) as db:
        async with db.default.watch(values=True) as watch:
            told = []

            async def walk():
                async for change in watch:
                    told.append((change.version, change.value))
                    if change.value == "last":
                        return

            walking = asyncio.create_task(walk())
            done = []
            for turn in range(3):
                for number in range(20):
                    value = f"{turn}/{number}"
                    done.append(((await db.default.put(f"k{number}", value)).version, value))
                server.end(signal.SIGKILL)
                server.start()
            done.append(((await db.default.put("k", "last")).version, "last"))
            await asyncio.wait_for(walking, 60)
    # A put whose answer was lost is done twice; those who answered are all here.
    assert [row for row in told if row in set(done)] == done
    versions = [version for version, _ in told]
    assert versions == sorted(set(versions))


async def test_a_batch_is_told_once_when_the_watch_breaks_in_its_middle(server):
    async with shardkeep.connect(server.target, retry=PATIENT) as db:
        ns = db.default
        async with ns.watch() as watch:
            async with ns.batch() as batch:
                for number in range(10_000):
                    batch.put(f"key-{number:05}/{'x' * 100}", number)
            told = [await anext(watch)]
            before = watch.version
            while watch.version == before:
                told.append(await anext(watch))
                # A batch of this size needs several messages; the server dies between two of them.
                if len(told) in (3_000, 7_000):
                    server.end(signal.SIGKILL)
                    server.start()
            assert watch.version == batch.result.version
    keys = [change.key for change in told]
    assert len(keys) == len(set(keys)) == 10_000
    assert {change.version for change in told} == {batch.result.version}


async def test_a_watch_that_is_closed_is_at_its_end(ns):
    watch = ns.watch()
    async with watch:
        walking = asyncio.create_task(anext(watch, "the end"))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="walked by another"):
            await anext(watch)
        watch.close()
        assert await asyncio.wait_for(walking, 60) == "the end"
    assert [change async for change in watch] == []


async def test_a_cancelled_walker_is_cancelled_and_the_watch_is_not(ns):
    async with ns.watch() as watch:
        walking = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        walking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await walking
        put = await ns.put("k", 1)
        assert (await take(watch, 1))[0].version == put.version


async def test_one_who_takes_nothing_is_cut_off_and_goes_on(tmp_path):
    server = Server(tmp_path, '[server]\nkeepalive_timeout = "1s"\n')
    async with shardkeep.connect(server.target) as db:
        ns = db.default
        async with ns.watch(after=0, values=True) as watch:
            versions, told, cut = [], [], None
            while cut is None:
                # More than what lies between the server and one who asks for nothing.
                puts = [ns.put(f"key-{number}", b"1234567" * 1_000) for number in range(2_000)]
                versions += sorted(put.version for put in await asyncio.gather(*puts))
                await asyncio.sleep(2)
                try:
                    while len(told) < len(versions):
                        told.append(await anext(watch))
                except shardkeep.WatchTooSlow as error:
                    cut = error
            assert cut.reason == "WATCH_TOO_SLOW" and isinstance(cut, shardkeep.Conflict)
            assert cut.version == told[-1].version
            told += await take(watch, len(versions) - len(told))
            assert [change.version for change in told] == versions
    server.end(signal.SIGTERM)


async def test_what_cannot_be_told_any_more_is_said(db, ns, server, tmp_path):
    await ns.put("a", 1)
    await ns.put("b", 1)
    full = await db.backups.create("full")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "data/backups").mkdir(parents=True)
    shutil.copy(tmp_path / "data/backups" / full.path, elsewhere / "data/backups")
    other = Server(elsewhere)
    async with shardkeep.connect(other.target) as db:
        ns = db.default
        await ns.put("c", 1)
        async with ns.watch() as watch:
            begun = watch.version
            await db.backups.restore(full.path)
            with pytest.raises(shardkeep.WatchLost) as lost:
                await asyncio.wait_for(anext(watch), 60)
            assert (lost.value.reason, lost.value.version) == ("WATCH_RESTORED", begun)
        async with db.snapshot() as then:
            async with ns.watch(after=then.version) as watch:
                put = await ns.put("a", 2)
                assert (await take(watch, 1))[0].version == put.version
        with pytest.raises(shardkeep.InvalidArgument) as ahead:
            await anext(ns.watch(after=put.version + 1_000))
        assert (ahead.value.reason, ahead.value.field) == ("WATCH_AHEAD", "after_version")
    other.end(signal.SIGTERM)


async def test_a_watch_ends_with_its_namespace(db):
    orders = await db.create_namespace("orders")
    async with orders.watch() as watch:
        await db.drop_namespace("orders")
        with pytest.raises(shardkeep.NotFound) as gone:
            await asyncio.wait_for(anext(watch), 60)
        assert gone.value.reason == "NAMESPACE_NOT_FOUND"


async def test_a_watch_ends_with_its_connection(server):
    async with shardkeep.connect(server.target) as db:
        watch = db.default.watch()
        async with watch:
            walking = asyncio.create_task(anext(watch))
            await asyncio.sleep(0)
            await db.close()
            with pytest.raises(shardkeep.Unavailable, match="closed meanwhile"):
                await asyncio.wait_for(walking, 60)


async def test_many_watches_leave_room_for_other_calls(ns):
    watches = [ns.watch() for _ in range(300)]
    await asyncio.gather(*(watch.__aenter__() for watch in watches))
    put = await ns.put("k", 1)
    told = await asyncio.gather(*(take(watch, 1) for watch in watches))
    assert {change.version for (change,) in told} == {put.version}
    for watch in watches:
        watch.close()


def test_the_twin_watches_too(server):
    with sync.connect(server.target, retry=PATIENT) as db:
        ns = db.default
        told = []
        with ns.watch(values=True) as watch:
            walking = threading.Thread(target=lambda: told.extend(it.value for it in watch))
            walking.start()
            for number in range(20):
                if number == 10:
                    server.end(signal.SIGKILL)
                    server.start()
                last = ns.put(f"k{number}", number)
            # Only this thread ends the watch that the other one walks.
            deadline = time.monotonic() + 60
            while watch.version < last.version:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        walking.join(60)
        assert not walking.is_alive()
        assert sorted(set(told)) == [*range(20)]
