"""The synchronous twin."""

import inspect
import signal
import threading

import pytest

import shardkeep
from shardkeep import sync

PLAIN = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}


def test_the_twin_does_the_same(server):
    with sync.connect(server.target) as db:
        ns = db.default
        version = ns.put("k", {"a": 1}).version
        assert ns.get("k") == {"a": 1}
        with pytest.raises(shardkeep.Conflict):
            ns.put("k", 2, when=shardkeep.if_version(version + 1))
        ns.put("l", 2)
        assert [key for key, _ in ns.range(reverse=True)] == [b"l", b"k"]
        for _ in ns.range():
            break
        assert [len(page.records) for page in ns.range().pages(size=1)] == [1, 1]
        server.end(signal.SIGKILL)
        server.start()
        assert ns.get("l") == 2


def test_threads_share_a_connection(server):
    with sync.connect(server.target) as db:
        counting = [
            threading.Thread(target=lambda: [db.default.increment("n") for _ in range(20)])
            for _ in range(4)
        ]
        for thread in counting:
            thread.start()
        for thread in counting:
            thread.join()
        assert db.default.get("n") == 80


@pytest.mark.parametrize("name", sync.__all__)
def test_the_twin_has_the_same_names_and_nothing_to_await(name):
    first, twin = getattr(shardkeep, name), getattr(sync, name)
    assert {PLAIN.get(member, member) for member in dir(first)} == set(dir(twin))
    members = [member for _, member in inspect.getmembers(twin, inspect.isfunction)]
    assert not any(inspect.iscoroutinefunction(member) for member in members)
