"""A real server for each test: on a free port, with data of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import shardkeep

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("SHARDKEEP_BIN", str(ROOT / "target/debug/shardkeep"))
CONFIG = """
[keys]
mode = "user"
overwrite = true
[disk]
min_free = "1 MiB"
[storage]
shards = 2
durability = "os"
"""


class Server:
    """The server's process, which can be killed and started again on the same data and port."""

    def __init__(self, folder: Path, more: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.target = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._config = folder / "config.toml"
        self._config.write_text(CONFIG + more)
        self.start()

    def start(self) -> None:
        command = [PROGRAM, "serve", "--config", str(self._config), "--port", str(self.port)]
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--data-dir", str(self._folder / "data")],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert "ready" in said, (self._folder / "server.log").read_text()

    def ended(self) -> None:
        """Waits for the end that somebody asked for."""
        assert self._process.wait(timeout=30) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, how: signal.Signals) -> None:
        self.signal(how)
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.end(signal.SIGTERM)


@pytest.fixture
async def db(server: Server) -> AsyncIterator[shardkeep.Database]:
    async with shardkeep.connect(server.target) as db:
        yield db


@pytest.fixture
async def ns(db: shardkeep.Database) -> shardkeep.Namespace:
    return db.default


