"""Values, types, codecs, conditions and expiry, over a real connection."""

import asyncio
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import shardkeep
from shardkeep import KEEP, ValueType, if_absent, if_digest, if_present, if_version
from shardkeep.values import TypedCodec

TYPED = [
    (b"\x00\xff", ValueType.BYTES),
    ("grün", ValueType.TEXT),
    (-(2**63), ValueType.INT64),
    (0.1, ValueType.DOUBLE),
    (True, ValueType.BOOL),
    (False, ValueType.BOOL),
    ({"a": [1, None, "ü"]}, ValueType.JSON),
    (None, ValueType.JSON),
]


@pytest.mark.parametrize(("value", "value_type"), TYPED)
async def test_a_value_comes_back_as_what_it_was(ns, value, value_type):
    await ns.put("k", value)
    record = await ns.read("k")
    assert (record.value, record.entry.value_type) == (value, value_type)
    assert type(record.value) is type(value)


@pytest.mark.parametrize("value", [2**63, float("nan"), float("inf"), [float("nan")]])
async def test_numbers_that_do_not_fit_are_refused_before_they_are_sent(ns, value):
    with pytest.raises(ValueError):
        await ns.put("k", value)
    assert await ns.get("k", "none") == "none"


def test_values_have_the_bytes_that_the_client_in_rust_is_held_to():
    codec = TypedCodec()
    rows = Path(__file__).parents[3] / "tests" / "data" / "typed-values.jsonl"
    for row in map(json.loads, rows.read_text().splitlines()):
        stored = bytes.fromhex(row["hex"]), ValueType[row["type"]]
        assert codec.encode(codec.decode(*stored)) == stored


async def test_the_codec_of_the_longest_prefix_counts(db, server):
    codecs = {"p": shardkeep.JsonCodec(), b"pack:": shardkeep.MsgpackCodec()}
    async with shardkeep.connect(server.target, codecs=codecs) as db:
        ns = db.default
        await ns.put("p1", "text")
        await ns.put("pack:1", {"raw": b"\x00"})
        await ns.put("other", "text")
        assert await ns.get_many(["p1", "pack:1", "other"]) == ["text", {"raw": b"\x00"}, "text"]
        raw = db.namespace("", codecs={"": shardkeep.BytesCodec(), "p": shardkeep.BytesCodec()})
        assert await raw.get("p1") == b'"text"'
        assert await raw.get("other") == b"text"


async def test_a_put_tells_what_it_did(ns):
    first = await ns.put("k", "one", metadata={"by": "me"})
    assert first.created and first.previous_version == 0 and len(first.digest) == 32
    second = await ns.put("k", "two")
    assert not second.created and second.previous_version == first.version
    assert (await ns.head("k")).metadata == {}
    await ns.put("k", "three", metadata={"by": "me"})
    assert (await ns.head("k")).metadata == {"by": "me"}
    gone = await ns.delete("k")
    assert gone.deleted and not (await ns.delete("k")).deleted


async def test_conditions_hold_or_say_what_does_not(ns):
    first = await ns.put("k", "one", when=if_absent())
    with pytest.raises(shardkeep.AlreadyExists) as exists:
        await ns.put("k", "two", when=if_absent())
    assert exists.value.reason == "KEY_EXISTS"
    with pytest.raises(shardkeep.NotFound):
        await ns.put("other", "two", when=if_present())
    second = await ns.put("k", "two", when=if_version(first.version))
    with pytest.raises(shardkeep.Conflict) as stale:
        await ns.delete("k", when=if_version(first.version))
    assert stale.value.reason == "VERSION_MISMATCH" and not stale.value.outcome_unknown
    with pytest.raises(shardkeep.Conflict):
        await ns.put("k", "three", when=if_digest(first.digest))
    await ns.put("k", "three", when=if_digest(second.digest))
    assert await ns.get("k") == "three"


async def test_a_key_stays_as_long_as_it_is_told(ns):
    at = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(hours=1)
    await ns.put("k", 1, expires=at)
    assert (await ns.head("k")).expire_time == at
    await ns.put("k", 2, expires=KEEP)
    assert (await ns.head("k")).expire_time == at
    assert (await ns.touch("k", timedelta(hours=5))).expire_time > at
    assert (await ns.touch("k")).expire_time is None
    await ns.touch("k", timedelta(milliseconds=1))
    while await ns.contains("k"):
        pass
    assert await ns.get("k") is None
    with pytest.raises(ValueError, match="time zone"):
        await ns.put("k", 1, expires=datetime.now())
    with pytest.raises(shardkeep.InvalidArgument) as past:
        await ns.put("k", 1, expires=timedelta(0))
    assert (past.value.reason, past.value.field) == ("TTL_RANGE", "expiry.ttl")


async def test_counters_count(ns):
    assert await ns.increment("n") == 1
    assert await ns.increment("n", -5) == -4
    assert await ns.increment("m", 1, initial=100) == 101
    assert await ns.get("n") == -4
    await ns.put("t", "text")
    with pytest.raises(shardkeep.InvalidArgument) as refused:
        await ns.increment("t")
    assert (refused.value.reason, refused.value.field) == ("NOT_A_COUNTER", "key")


async def test_a_write_under_its_name_is_done_once(ns):
    assert await ns.increment("n", request_id="first") == 1
    assert await ns.increment("n", request_id="first") == 1
    assert await ns.increment("n") == 2
    put = await ns.put("k", 1, when=if_absent(), request_id="second")
    await ns.put("k", 2)
    assert await ns.put("k", 1, when=if_absent(), request_id="second") == put
    assert await ns.get("k") == 2
    gone = await ns.delete("k", request_id="third")
    assert await ns.delete("k", request_id="third") == gone and gone.deleted
    with pytest.raises(shardkeep.InvalidArgument) as reused:
        await ns.touch("n", request_id="third")
    assert (reused.value.reason, reused.value.field) == ("REQUEST_ID_REUSED", "request_id")


async def test_ids_are_given_once(ns):
    first, second = ns.ids("order", block=10), ns.ids("order", block=10)
    assert [await first.next() for _ in range(3)] == [1, 2, 3]
    assert await second.next() == 11
    given = await asyncio.gather(*(ids.next() for _ in range(50) for ids in (first, second)))
    assert len({1, 2, 3, 11, *given}) == 104
    with pytest.raises(ValueError, match="at least 1"):
        ns.ids("order", block=0)


@pytest.mark.parametrize("key", [5, None, 1.5, ["k"], object()])
async def test_what_is_no_key_is_refused_before_it_is_sent(ns, key):
    for call in (ns.put(key, 1), ns.get(key), ns.delete(key), ns.get_many([key])):
        with pytest.raises(TypeError, match="a key is bytes or text"):
            await call
    with pytest.raises(TypeError, match="a key is bytes or text"):
        ns.prefix(key)


async def test_keys_are_any_kind_of_bytes(ns):
    for number, key in enumerate([b"k", bytearray(b"k"), memoryview(b"k"), "k"]):
        await ns.put(key, number)
    assert [pair async for pair in ns.range()] == [(b"k", 3)]


async def test_a_float_of_another_class_is_its_digits(ns):
    class Loud(float):
        def __repr__(self):
            return f"Loud({float(self)})"

    await ns.put("k", Loud(1.5))
    assert await ns.get("k") == 1.5


async def test_what_a_codec_cannot_read_is_said_with_its_key(db, ns):
    await ns.put("k", "text")
    strict = db.namespace("", codecs={"": shardkeep.JsonCodec()})
    with pytest.raises(shardkeep.DecodeError, match="b'k', of type TEXT") as wrong:
        await strict.get("k")
    assert wrong.value.reason == "DECODE_FAILED" and isinstance(wrong.value, ValueError)
    raw = db.namespace("", codecs={"": shardkeep.BytesCodec()})
    assert await raw.get("k") == b"text"


async def test_many_keys_and_parts(ns):
    await ns.put("a", "abcdef")
    await ns.put("b", 2)
    assert await ns.get_many(["b", "none", "a"], default=0) == [2, 0, "abcdef"]
    heads = await ns.head_many(["none", "a"])
    assert heads[0] is None and heads[1].size == 6
    assert await ns.read_range("a", 2) == b"cdef"
    assert await ns.read_range("a", 2, 3) == b"cde"
    assert await ns.read_range("a", 2, 0) == b""
    with pytest.raises(shardkeep.InvalidArgument) as behind:
        await ns.read_range("a", 7)
    assert behind.value.reason == "RANGE_BEYOND_VALUE"


async def test_a_part_of_many(ns):
    await ns.put("long", "abcdef")
    await ns.put("short", "ab")
    keys = ["short", "none", "long", "long"]
    assert await ns.read_range_many(keys, 1) == [b"b", None, b"bcdef", b"bcdef"]
    assert await ns.read_range_many(keys, 1, 3) == [b"b", None, b"bcd", b"bcd"]
    assert await ns.read_range_many(keys, 4, 1) == [b"", None, b"e", b"e"]
    assert await ns.read_range_many(keys, 0, 0) == [b"", None, b"", b""]
    with pytest.raises(ValueError):
        await ns.read_range_many(keys, -1)


async def test_a_large_value_goes_through(ns):
    value = bytes(range(256)) * 40_000
    await ns.put("large", value)
    assert await ns.get("large") == value


async def test_bad_input_names_the_field(ns, db):
    with pytest.raises(shardkeep.InvalidArgument) as empty:
        await ns.get("")
    assert (empty.value.reason, empty.value.field) == ("KEY_EMPTY", "key")
    with pytest.raises(ValueError):
        await ns.put("k" * 65_001, 1)
    with pytest.raises(shardkeep.NotFound) as missing:
        await db["nowhere"].get("k", "default")
    assert missing.value.reason == "NAMESPACE_NOT_FOUND"
    with pytest.raises(shardkeep.NotFound) as absent:
        await ns.read("k")
    assert absent.value.reason == "KEY_NOT_FOUND"
