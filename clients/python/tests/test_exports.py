"""Keys that go to a file and come from one, here and on the command line."""

import io
import os
import subprocess
from datetime import timedelta

import pytest
from conftest import PROGRAM

import shardkeep
from shardkeep import sync

MIB = 1 << 20


def program(server, *arguments):
    """Runs a command of the server's program."""
    command = [PROGRAM, *map(str, arguments), "--server", server.target]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


async def fill(db):
    rules = shardkeep.Rules(default_ttl=timedelta(days=9), value_size_max=64 * MIB)
    orders = await db.create_namespace("orders", rules)
    for number in range(1200):
        await orders.put(f"a/{number:04}", f"value {number} " * (number % 30))
    await orders.put("b/said", {"x": 1}, expires=timedelta(hours=1), metadata={"b": "2", "a": "1"})
    await orders.put("b/empty", b"")
    await orders.put("b/noise", os.urandom(100_000))
    film = os.urandom(20 * MIB)
    await orders.upload("c/film", io.BytesIO(film), metadata={"name": "film"})
    await orders.upload("c/film again", io.BytesIO(film))
    await orders.upload("c/next", io.BytesIO(film[: 9 * MIB] + b"inserted" + film[9 * MIB :]))
    return orders


async def told(ns):
    """All that is known of the keys of a namespace, but their versions."""
    keys = [key async for key in ns.range().keys()]
    heads = await ns.head_many(keys)
    return [
        (it.key, it.size, it.sum64, it.digest, it.expire_time, it.value_type, it.metadata)
        for it in heads
    ]


async def test_files_go_from_here_to_the_command_line_and_back(db, server, tmp_path):
    orders = await fill(db)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    progress = []
    done = await orders.export(ours, progress=lambda *told: progress.append(told))
    assert done.keys == 1206 and done.size == ours.stat().st_size
    assert done.size < 24 * MIB, "what values share stands in it once"
    assert progress[-1][0] <= done.size and progress == sorted(progress)
    program(server, "export", "--namespace", "orders", "--out", theirs)

    by_program = await db.create_namespace("by-program")
    program(server, "import", ours, "--namespace", "by-program")
    here = await db.create_namespace("here")
    heard = []
    taken = await here.import_(theirs, progress=lambda *told: heard.append(told))
    assert (taken.written, taken.unchanged) == (1206, 0)
    assert heard and heard == sorted(heard) and heard[-1][1] == theirs.stat().st_size
    everything = await told(orders)
    # The default end of `orders` was written as each key's own.
    assert await told(by_program) == everything
    assert await told(here) == everything
    for file in (ours, theirs):
        again = await here.import_(file)
        assert (again.written, again.unchanged) == (0, 1206)
    assert b"1206 were so already" in subprocess.run(
        [PROGRAM, "import", ours, "--namespace", "here", "--server", server.target],
        capture_output=True,
        check=True,
    ).stderr.replace(b",", b"")


async def test_the_rules_of_a_namespace_go_with_it(db, server, tmp_path):
    orders = await fill(db)
    before = await db.describe_namespace("orders")
    await orders.export(tmp_path / "file", prefix="b/")
    await db.drop_namespace("orders")
    program(server, "import", tmp_path / "file")
    assert (await db.describe_namespace("orders")).rules == before.rules
    assert [key async for key in db["orders"].range().keys()] == [
        b"b/empty",
        b"b/noise",
        b"b/said",
    ]


async def test_a_part_and_what_is_there_already(ns, tmp_path):
    for number in range(20):
        await ns.put(f"k{number:02}", number)
    file = tmp_path / "file"
    assert (await ns.export(file, "k05", "k15")).keys == 10
    await ns.put("k05", "mine")
    await ns.delete("k06")
    kept = await ns.import_(file, keep=True)
    assert (kept.written, kept.kept, kept.unchanged) == (1, 1, 8)
    assert await ns.get("k05") == "mine"
    await ns.import_(file)
    assert await ns.get("k05") == 5
    target = io.BytesIO()
    await ns.export(target, prefix="k1")
    assert (await ns.import_(io.BytesIO(target.getvalue()))).unchanged == 10


async def test_a_damaged_file_changes_nothing(db, ns, tmp_path):
    for number in range(50):
        await ns.put(f"k{number}", os.urandom(3000))
    file = tmp_path / "file"
    await ns.export(file)
    whole = file.read_bytes()
    empty = await db.create_namespace("empty")
    for at in range(0, len(whole), len(whole) // 40):
        harmed = bytearray(whole)
        harmed[at] ^= 1
        for broken in (bytes(harmed), whole[:at], whole + b"x"):
            with pytest.raises((shardkeep.DataLoss, ValueError)):
                await empty.import_(io.BytesIO(broken))
    assert await empty.range().count() == 0


async def test_without_the_packages_for_it_small_values_go(ns, tmp_path, monkeypatch):
    await ns.put("small", "small " * 100)
    await ns.upload("zlarge", io.BytesIO(bytes(9 * MIB)))
    await ns.export(tmp_path / "compressed", prefix="small")
    monkeypatch.setattr("shardkeep.files._package", lambda name: None)
    assert (await ns.export(tmp_path / "file", prefix="small")).keys == 1
    assert (await ns.import_(tmp_path / "file")).unchanged == 1
    with pytest.raises(ImportError, match="archive"):
        await ns.import_(tmp_path / "compressed")
    with pytest.raises(ImportError, match="archive"):
        await ns.export(tmp_path / "large")
    assert not (tmp_path / "large").exists()


def test_without_asyncio(server, tmp_path):
    with sync.connect(server.target) as db:
        db.default.put("k", 1)
        assert db.default.export(tmp_path / "file").keys == 1
        db.default.delete("k")
        assert db.default.import_(tmp_path / "file").written == 1
        assert db.default.get("k") == 1
