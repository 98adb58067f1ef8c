"""Keys in order."""

import pytest

import shardkeep

KEYS = [b"a%02d" % number for number in range(30)]


@pytest.fixture
async def full(ns):
    for key in [*KEYS, b"b"]:
        await ns.put(key, int(key[1:] or 0))
    return ns


async def test_a_range_is_walked_both_ways(full):
    everything = [*KEYS, b"b"]
    assert [key async for key in full.range().keys()] == everything
    assert [key async for key, _ in full.range(reverse=True)] == everything[::-1]
    part = [pair async for pair in full.range("a03", "a06")]
    assert part == [(b"a03", 3), (b"a04", 4), (b"a05", 5)]
    assert [value async for value in full.range("a03", "a06", reverse=True).values()] == [5, 4, 3]
    assert [key async for key in full.prefix("a", limit=2).keys()] == KEYS[:2]
    assert [key async for key in full.prefix("a", limit=0).keys()] == []
    assert await full.prefix("a").count() == 30
    assert (await full.prefix("a", reverse=True).first()).value == 29
    assert await full.prefix("zz").first() is None


async def test_a_range_can_be_left_early_and_walked_again(full):
    walked = full.range()
    async for key, _ in walked:
        assert key == b"a00"
        break
    assert await walked.count() == 31


async def test_pages_go_on_where_the_last_one_ended(full):
    sizes = [len(page.records) async for page in full.range().pages(size=10)]
    assert sizes == [10, 10, 10, 1]
    limited = [page async for page in full.prefix("a", limit=15).pages(size=10)]
    assert [record.key for page in limited for record in page.records] == KEYS[:15]
    first = await full.range().page(5)
    second = await full.range().page(5, first.next_token)
    assert second.records[0].key == b"a05"
    with pytest.raises(shardkeep.InvalidArgument) as other:
        await full.prefix("a").page(5, first.next_token)
    assert other.value.reason == "PAGE_TOKEN_INVALID"


async def test_a_range_upside_down_is_refused(full):
    with pytest.raises(shardkeep.InvalidArgument) as refused:
        await full.range("b", "a").count()
    assert (refused.value.reason, refused.value.field) == (
        "RANGE_UPSIDE_DOWN",
        "selection.end_key",
    )
