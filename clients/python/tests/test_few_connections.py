"""A server that keeps fewer idle connections than it has clients: it asks them to leave all the time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Server

from shardkeep import sync

CLIENTS = 12
COUNTS = 250


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, "[server]\nmax_idle_connections = 8\n")
    yield server
    server.end(signal.SIGTERM)


def test_no_count_is_lost_or_doubled_or_fails(server):
    failed: list[BaseException] = []

    def count() -> None:
        try:
            with sync.connect(server.target) as db:
                for _ in range(COUNTS):
                    db.default.increment("n")
        except BaseException as error:
            failed.append(error)

    counting = [threading.Thread(target=count) for _ in range(CLIENTS)]
    for thread in counting:
        thread.start()
    for thread in counting:
        thread.join()
    assert not failed
    with sync.connect(server.target) as db:
        assert db.default.get("n") == CLIENTS * COUNTS
