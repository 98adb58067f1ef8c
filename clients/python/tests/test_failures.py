"""Servers that die, come back, or are not there."""

import asyncio
import signal
import socket

import pytest

import shardkeep
from shardkeep.errors import Unavailable
from shardkeep.records import Reader
from shardkeep.retry import Retries, Retry
from shardkeep.v1 import key_value_pb2 as pb
from shardkeep.values import Codecs


async def test_calls_that_may_happen_twice_outlive_a_killed_server(server):
    # As many tries as a slow machine may need for the start.
    async with shardkeep.connect(server.target, retry=Retry(attempts=100)) as db:
        await db.default.put("k", 1)
        server.end(signal.SIGKILL)
        reading = asyncio.create_task(db.default.get("k"))
        writing = asyncio.create_task(db.default.put("other", 2))
        await asyncio.sleep(0.1)
        assert not reading.done() and not writing.done()
        server.start()
        assert await reading == 1
        await writing
        assert await db.default.get("other") == 2


async def test_a_commit_is_sent_again_but_with_conditions_only_to_the_run_that_knows_it(server):
    async with shardkeep.connect(server.target, retry=Retry(attempts=100)) as db:
        async with db.default.batch() as batch:
            batch.put("k", 1)
        server.end(signal.SIGKILL)
        batch, checked = db.default.batch(), db.default.batch()
        batch.put("plain", 2)
        checked.require("lock", shardkeep.if_absent())
        checked.put("lock", "mine")
        plain = asyncio.create_task(batch.commit())
        again = asyncio.create_task(checked.commit())
        await asyncio.sleep(0.1)
        assert not plain.done() and not again.done()
        server.start()
        assert (await plain).succeeded
        with pytest.raises(shardkeep.Unavailable, match="started anew") as refused:
            await again
        assert refused.value.outcome_unknown
        assert await db.default.get("lock") is None
        # Its next commit knows the new run.
        async with db.default.batch() as batch:
            batch.require("lock", shardkeep.if_absent())
            batch.put("lock", "mine", expires=None)


async def test_a_count_and_a_write_on_a_condition_go_only_to_the_run_that_knows_them(server):
    async with shardkeep.connect(server.target, retry=Retry(attempts=100)) as db:
        version = (await db.default.put("k", 1)).version
        server.end(signal.SIGKILL)
        counting = asyncio.create_task(db.default.increment("n"))
        writing = asyncio.create_task(db.default.put("k", 2, when=shardkeep.if_version(version)))
        await asyncio.sleep(0.1)
        assert not counting.done() and not writing.done()
        server.start()
        for waiting in (counting, writing):
            with pytest.raises(shardkeep.Unavailable, match="started anew") as refused:
                await waiting
            assert refused.value.outcome_unknown
        assert await db.default.get("k") == 1
        assert await db.default.increment("n") == 1


async def test_a_commit_under_a_name_is_done_once(ns):
    def taken():
        batch = ns.batch()
        batch.require("lock", shardkeep.if_absent())
        batch.put("lock", "mine")
        return batch

    first = await taken().commit(request_id="name")
    assert await taken().commit(request_id="name") == first
    with pytest.raises(shardkeep.Conflict):
        await taken().commit(request_id="another name")


async def test_a_call_that_must_not_happen_twice_says_that_its_outcome_is_unknown(server):
    async with shardkeep.connect(server.target, retry=None) as db:
        server.end(signal.SIGKILL)
        with pytest.raises(shardkeep.Unavailable) as refused:
            await db.default.increment("n")
        assert refused.value.outcome_unknown
        server.start()


async def test_the_first_count_of_a_connection_is_tried_again_too(server):
    async with shardkeep.connect(server.target, retry=Retry(attempts=100)) as db:
        server.end(signal.SIGKILL)
        counting = asyncio.create_task(db.default.increment("n"))
        await asyncio.sleep(0.1)
        assert not counting.done()
        server.start()
        assert await counting == 1


async def test_a_count_that_was_never_sent_has_no_unknown_outcome(server):
    async with shardkeep.connect(server.target, retry=Retry(attempts=2)) as db:
        server.end(signal.SIGKILL)
        with pytest.raises(shardkeep.Unavailable) as refused:
            await db.default.increment("n")
        assert not refused.value.outcome_unknown
        server.start()


async def test_a_call_ends_at_its_deadline(ns, server):
    server.end(signal.SIGKILL)
    with pytest.raises(shardkeep.Error) as late:
        await ns.get("k", timeout=0.3)
    assert isinstance(late.value, shardkeep.Unavailable | TimeoutError)
    server.start()


async def test_nobody_at_the_address_is_told_so():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(shardkeep.Unavailable, match="is the server running"):
            async with shardkeep.connect(target, connect_timeout=0.3):
                pass


def test_retries_end_with_their_budget_and_never_repeat_what_must_not_be():
    retries = Retries(Retry(attempts=3, budget=3))
    unknown = Unavailable("lost", reason="OUTCOME_UNKNOWN")
    assert retries.pause(unknown, 2, idempotent=True) is None
    broken, told = Unavailable("broken"), Unavailable("busy", retry_after=0.1)
    assert retries.pause(broken, 1, idempotent=False) is None
    assert retries.pause(told, 1, idempotent=False) >= 0.1
    assert retries.pause(Unavailable("disk", retry_after=5), 1, idempotent=True) is None
    assert retries.pause(broken, 3, idempotent=True) is None
    assert retries.pause(broken, 1, idempotent=True) is not None
    assert retries.pause(broken, 2, idempotent=True) is not None
    assert retries.pause(broken, 1, idempotent=True) is None
    for _ in range(11):
        retries.succeeded()
    assert retries.pause(broken, 1, idempotent=True) is not None


def test_a_value_that_is_not_what_its_checksum_says_is_no_value():
    reader = Reader("", Codecs(None))
    with pytest.raises(shardkeep.DataLoss) as damaged:
        reader.record(pb.Entry(key=b"k", sum64=1), b"value")
    assert damaged.value.reason == "SUM64_MISMATCH"
