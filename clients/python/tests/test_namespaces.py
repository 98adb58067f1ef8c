"""Namespaces: made, told of, changed, dropped."""

from datetime import timedelta

import pytest

import shardkeep
from shardkeep import Rules, sync


async def test_a_namespace_has_keys_of_its_own(db):
    orders = await db.create_namespace("orders")
    await orders.put("k", "of an order")
    await db.default.put("k", 1)
    assert await db["orders"].get("k") == "of an order"
    assert [key async for key in orders.range().keys()] == [b"k"]
    assert await db.default.get("k") == 1
    assert await orders.get_many(["k", "l"]) == ["of an order", None]
    assert await orders.increment("n", 5) == 5
    with pytest.raises(shardkeep.AlreadyExists) as refused:
        await db.create_namespace("orders")
    assert refused.value.reason == "NAMESPACE_EXISTS"
    with pytest.raises(shardkeep.InvalidArgument) as refused:
        await db.create_namespace("Orders")
    assert (refused.value.reason, refused.value.field) == ("NAMESPACE_NAME", "name")


async def test_namespaces_are_told_of_with_their_rules_and_counts(db):
    rules = Rules(overwrite=False, default_ttl=timedelta(hours=1), value_size_max=100)
    await (await db.create_namespace("orders", rules)).put("k", b"12345")
    await db.create_namespace("by-content", Rules(by_content=True, compress=False, dedup=False))
    assert [it.name for it in await db.list_namespaces()] == ["by-content", "default", "orders"]
    told = await db.describe_namespace("orders")
    assert (told.rules, told.keys, told.logical_bytes) == (rules, 1, 5)
    assert told.create_time.tzinfo is not None
    assert (await db["orders"].head("k")).expire_time is not None
    changed = await db.update_namespace("orders", overwrite=True, default_ttl=None)
    assert changed.rules == Rules(value_size_max=100)
    assert changed.version > told.version
    with pytest.raises(ValueError, match="by_content cannot be changed"):
        await db.update_namespace("orders", by_content=True)
    key = await db["by-content"].add(b"value")
    assert len(key) == 64
    assert (await db.describe_namespace()).create_time is None


async def test_a_dropped_namespace_is_gone_and_its_name_is_free(db):
    orders = await db.create_namespace("orders")
    await orders.put("k", 1)
    await db.drop_namespace("orders")
    with pytest.raises(shardkeep.NotFound) as refused:
        await orders.get("k")
    assert refused.value.reason == "NAMESPACE_NOT_FOUND"
    with pytest.raises(shardkeep.NotFound):
        await db.drop_namespace("orders")
    await db.create_namespace("orders")
    assert await orders.get("k") is None
    with pytest.raises(shardkeep.FailedPrecondition) as refused:
        await db.drop_namespace("default")
    assert refused.value.reason == "NAMESPACE_FIXED"


def test_the_twin_knows_namespaces(server):
    with sync.connect(server.target) as db:
        db.create_namespace("orders").put("k", 1)
        assert [(it.name, it.keys) for it in db.list_namespaces()] == [
            ("default", 0),
            ("orders", 1),
        ]
        db.drop_namespace("orders")
